"""What a function emits, defers or sets aside cannot be written: it waits with a reason, and goes on when it can be.

Meanwhile its progress is not committed, nothing is charged, and no handler runs again for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault.fleet import Runtime
from fault.kafka_fleet import KafkaFleet
from fault.kafka_notes import Gate, Notes
from fault.kafka_outside import Outside
from fault.kafka_watch import wait_for
from fault.soak_results import SOAK
from kafkaclient import fresh
from kafkaserver import KafkaServer
from kafkaserver.source import Broker

FUNCTIONS = """
@function(
    "ORDERS", emits={"EMAILS": EmailSent}, retry=Retry(attempts=2, delay=0.2), order="ORDER", guarantee="GUARANTEE"
)
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    if order.n == 7:
        raise Reject("not this one")
    if order.n == 8 and ctx.attempt == 1:
        raise ValueError("not yet")
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""

guarantees = pytest.mark.parametrize("guarantee", ["at-least-once", "effectively-once"])


class Shop:
    """One function on topics of its own."""

    def __init__(self, folder: Path, outside: Outside, guarantee: str, order: str = "key") -> None:
        self.outside = outside
        self.app, self.orders, self.emails = fresh("shop"), fresh("orders"), fresh("emails")
        self.group, self.letters = f"{self.app}.confirm", f"{self.app}.confirm.dlt"
        self.notes = Notes(folder / "notes")
        names = {"ORDERS": self.orders, "EMAILS": self.emails, "GUARANTEE": guarantee, "ORDER": order}
        functions = FUNCTIONS
        for name, value in names.items():
            functions = functions.replace(f'"{name}"', f'"{value}"')
        self.source = self.notes.source(functions)

    def emit(self, *numbers: int) -> None:
        self.outside.emit(self.orders, [("k", {"n": n}) for n in numbers])

    def wait_for_committed(self, offset: int) -> None:
        wait_for(lambda: self.committed == offset, f"the group to be at {offset}")

    @property
    def committed(self) -> int:
        return self.outside.committed(self.group).get((self.orders, 0), 0)

    def lines(self, runtime: Runtime) -> int:
        """How much it has logged by now."""
        return len(runtime.lines)


@pytest.fixture
def outside(kafka: Broker) -> Iterator[Outside]:
    with Outside(kafka.bootstrap) as one:
        yield one


def is_stuck(shop: Shop, runtime: Runtime, state: str, *words: str, after: int, committed: int) -> str:
    """It is in that state for that reason, and neither progress nor attempts have moved."""
    reason = runtime.wait_for_state(state, *words, after=after)
    assert shop.committed == committed, "progress is not committed"
    return reason


@guarantees
@pytest.mark.parametrize(("which", "n"), [("emails", 1), ("letters", 7)])
def test_a_topic_deleted_under_a_function_pauses_it_until_it_is_back(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str, which: str, n: int
) -> None:
    shop = Shop(tmp_path, outside, guarantee)
    outside.make(shop.orders, shop.emails, shop.letters)
    with KafkaFleet(tmp_path / "shop", kafka.url, shop.source, "brisk", HEADRACE_APP=shop.app) as fleet:
        runtime = fleet.start()
        runtime.wait_until_serving()
        shop.emit(n)
        topic = shop.emails if which == "emails" else shop.letters
        outside.watch(topic).wait(lambda seen: len(seen) == 1, "the first order's outcome")
        before = shop.lines(runtime)
        wait_for(lambda: shop.committed > 0, "progress")
        committed = shop.committed
        outside.delete(topic)
        shop.emit(n)
        is_stuck(shop, runtime, "paused", topic, after=before, committed=committed)
        outside.make(topic)
        (outcome,) = outside.watch(topic).wait(bool, "the second order's outcome")
        assert fleet.end() == [0]
    assert outcome.data["n"] == n
    assert shop.committed > committed
    assert shop.notes.attempts() == Counter({(n, 1): 2}), "each of the two once, as a first attempt"


def is_stopped(runtime: Runtime, topic: str) -> bool:
    """Whether the function has said that it does not go on with a topic's partition."""
    assert not runtime.ended, runtime.tail
    return any(
        state == "stopped" and f"partition 0 of {topic!r} is stopped" in reason for state, reason in runtime.states
    )


@guarantees
def test_a_retry_topic_deleted_under_a_function_pauses_it_until_it_is_back(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    shop = Shop(tmp_path, outside, guarantee, "none")
    outside.make(shop.orders, shop.emails)
    with KafkaFleet(tmp_path / "shop", kafka.url, shop.source, "brisk", HEADRACE_APP=shop.app) as fleet:
        runtime = fleet.start()
        runtime.wait_until_serving()
        shop.emit(8)
        watch = outside.watch(shop.emails)
        watch.wait(lambda seen: len(seen) == 1, "the first order's e-mail")
        before = shop.lines(runtime)
        retries = f"{shop.group}.retry.1s"
        outside.delete(retries)
        shop.emit(8)
        runtime.wait_for_state("paused", retries, after=before)
        outside.make(retries)
        if guarantee == "effectively-once":
            # What was done in it cannot be told any more, and that is for a person. But if it could not be noted in
            # time that its owner left in order, nothing at all is known of it, and it is begun like a new one.
            wait_for(
                lambda: is_stopped(runtime, retries) or len(watch.of()) == 2, "the retry topic to be stopped or served"
            )
            wait_for(lambda: shop.notes.attempts()[8, 1] == 2, "the second order to be tried")
        else:
            watch.wait(lambda seen: len(seen) == 2, "the second order's e-mail")
        assert fleet.end() == [0]
    assert shop.notes.attempts()[8, 1] == 2, "the second order was tried once, and is charged once"


@guarantees
def test_a_right_that_is_taken_away_pauses_a_function_until_it_is_given_back(
    secured_kafka: KafkaServer, tmp_path: Path, guarantee: str
) -> None:
    with Outside(secured_kafka.bootstrap) as outside:
        shop = Shop(tmp_path, outside, guarantee)
        outside.make(shop.orders, shop.emails, shop.letters, f"{shop.app}.control")
        allow(secured_kafka, shop)
        login = {
            "HEADRACE_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "HEADRACE_KAFKA__SASL_MECHANISM": "PLAIN",
            "HEADRACE_KAFKA__SASL_USERNAME": "alice",
            "HEADRACE_KAFKA__SASL_PASSWORD": secured_kafka.security.passwords["alice"],
        }
        url = f"kafka://{secured_kafka.security.sasl_plaintext}"
        with KafkaFleet(tmp_path / "shop", url, shop.source, "brisk", HEADRACE_APP=shop.app, **login) as fleet:
            runtime = fleet.start()
            runtime.wait_until_serving()
            shop.emit(1)
            watch = outside.watch(shop.emails)
            watch.wait(lambda seen: len(seen) == 1, "the first e-mail")
            wait_for(lambda: shop.committed > 0, "progress")
            committed, before = shop.committed, shop.lines(runtime)
            secured_kafka.revoke("alice", "write", "topic", shop.emails)
            shop.emit(2)
            is_stuck(shop, runtime, "paused", shop.emails, "WRITE", after=before, committed=committed)
            secured_kafka.grant("alice", "write", "topic", shop.emails)
            watch.wait(lambda seen: len(seen) == 2, "the second e-mail")
            assert fleet.end() == [0]
        assert shop.committed > committed
        assert [email.data for email in watch.of()] == [{"n": 1, "attempt": 1}, {"n": 2, "attempt": 1}]
        assert shop.notes.attempts() == Counter({(1, 1): 1, (2, 1): 1})


def allow(server: KafkaServer, shop: Shop) -> None:
    """All that alice needs."""
    for topic in (shop.orders, shop.emails, shop.letters):
        for operation in ("describe", "describe_configs"):
            server.grant("alice", operation, "topic", topic)
    server.grant("alice", "read", "topic", shop.orders)
    server.grant("alice", "read", "topic", f"{shop.app}.control")
    server.grant("alice", "write", "topic", shop.emails)
    server.grant("alice", "write", "topic", shop.letters)
    server.grant("alice", "all", "group", shop.group)
    server.grant("alice", "all", "transactional_id", f"{shop.group}/", "prefixed")
    server.grant("alice", "idempotent_write", "cluster", "kafka-cluster")
    server.grant("alice", "describe", "cluster", "kafka-cluster")


@pytest.mark.parametrize("guarantee", ["at-least-once", "effectively-once"] if SOAK else ["effectively-once"])
def test_a_broker_that_is_gone_has_a_function_retry_until_it_is_back(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str
) -> None:
    with Outside(own_kafka.bootstrap) as outside:
        shop = Shop(tmp_path, outside, guarantee)
        outside.make(shop.orders, shop.emails, shop.letters)
        gate = Gate(tmp_path / "gate")
        waiting = f'wait_at("{gate.path}") if order.n == 2 else None'
        source = shop.source.replace('    note("start"', f'    {waiting}\n    note("start"')
        with KafkaFleet(tmp_path / "shop", own_kafka.url, source, "brisk", HEADRACE_APP=shop.app) as fleet:
            runtime = fleet.start()
            runtime.wait_until_serving()
            shop.emit(1, 2)
            watch = outside.watch(shop.emails)
            watch.wait(lambda seen: len(seen) == 1, "the first e-mail")
            before = shop.lines(runtime)
            own_kafka.kill()
            gate.open()  # it ends while there is nobody to tell
            runtime.wait_for_state("retrying", own_kafka.bootstrap, after=before)
            own_kafka.start()
            watch.wait(lambda seen: len({one.data["n"] for one in seen}) == 2, "the second e-mail")
            wait_for(lambda: shop.committed >= 2, "progress")
            assert fleet.end() == [0]
    assert {attempt for _, attempt in shop.notes.attempts()} == {1}, "nothing is charged"
