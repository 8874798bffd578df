"""A process that is a member of a group until it is told to end, or killed.

Usage: kafka_member.py BOOTSTRAP GROUP TOPIC EMAILS SESSION_S. Prints `assigned N` when it has settled `by the child` on
each of its partitions. For each line on stdin it settles with one emit to EMAILS, and prints `settled`, or the name of
the error.
"""

from __future__ import annotations

import asyncio
import sys

from kafkaclient import Runtime, append, quick

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Settlement
from headrace.triggers.brokers.kafka import KafkaLog


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(bootstrap: str, group: str, topic: str, emails: str, session_s: str) -> None:
    log = await KafkaLog.open(quick(bootstrap, session_timeout_s=float(session_s), timeout_s=10.0))
    runtime = Runtime()
    member = await runtime.join(log, group, topic)
    polling = asyncio.create_task(poll(member))
    held = dict(runtime.owned)
    for one in held.values():
        await log.settle(Settlement(group, one.partition, one.epoch, 0, b"by the child"))
    say(f"assigned {len(held)}")
    while await asyncio.to_thread(sys.stdin.readline):
        one = held[topic, 0]
        try:
            emit = append(emails, b"from the child")
            await log.settle(Settlement(group, one.partition, one.epoch, 0, b"again by the child", [emit]))
        except BrokerError as error:
            say(type(error).__name__)
        else:
            say("settled")
    polling.cancel()


async def poll(member) -> None:
    while True:
        await member.poll(100)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
