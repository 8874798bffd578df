"""`make kafka`: a broker in a temporary folder, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from kafkaserver.java import NoBroker
from kafkaserver.ports import is_free
from kafkaserver.process import BrokerFailed
from kafkaserver.source import LocalBroker, fetch, local_broker

USUAL = 9092


def main() -> int:
    """Start, tell the URL, run until told to end; 1 if that was not our doing."""
    options = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    options.add_argument("--port", type=int, help=f"default: {USUAL} if it is free, else any free one")
    options.add_argument("--fetch", action="store_true", help="only fetch what a broker needs to start")
    chosen = options.parse_args()
    if chosen.fetch:
        return _fetch()
    port: int | None = chosen.port
    for number in (signal.SIGTERM, signal.SIGINT):  # Ctrl-C as well where that was ignored by who started us
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="headrace-kafka-") as folder:
        try:
            return _serve(Path(folder), port or (USUAL if is_free(USUAL) else None))
        except KeyboardInterrupt:
            return 0
        except (NoBroker, BrokerFailed) as error:
            _say(str(error))
            return 1


def _fetch() -> int:
    try:
        fetch(os.environ)
    except NoBroker as error:
        _say(str(error))
        return 1
    return 0


def _serve(folder: Path, port: int | None) -> int:
    broker = local_broker(folder, port)
    try:
        broker.start()
        _tell(broker)
        code = broker.wait()
        _say(f"the broker ended by itself with code {code}\n{broker.log_tail()}")
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave it half stopped
        broker.stop()


def _tell(broker: LocalBroker) -> None:
    _say(f"Kafka runs until Ctrl-C; nothing in it is kept. To use it: export HEADRACE_BROKER={broker.url}")
    sys.stdout.write(f"{broker.url}\n")  # last: whoever waits for it has the rest
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
