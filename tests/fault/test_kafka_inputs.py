"""What topics may be like: compacted, written in transactions, with large events, shared, many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fault.kafka_fleet import KafkaFleet
from fault.kafka_notes import Notes
from fault.kafka_outside import Outside
from fault.kafka_watch import Seen
from kafkaclient import fresh
from kafkaserver import KafkaServer
from kafkaserver.source import Broker

guarantees = pytest.mark.parametrize("guarantee", ["at-least-once", "effectively-once"])


class Shop:
    """Functions on topics of their own; names in the source that are written in capitals are filled in."""

    def __init__(self, folder: Path, url: str, outside: Outside, functions: str, **names: str) -> None:
        self.app = fresh("shop")
        self.names = {name: fresh(name.lower()) for name in ("ORDERS", "EMAILS")} | names
        self.outside = outside
        self.notes = Notes(folder / "notes")
        for name, value in self.names.items():
            functions = functions.replace(f'"{name}"', f'"{value}"')
        self.fleet = KafkaFleet(folder / "shop", url, self.notes.source(functions), HEADRACE_APP=self.app)

    @property
    def orders(self) -> str:
        return self.names["ORDERS"]

    @property
    def emails(self) -> str:
        return self.names["EMAILS"]

    def letters(self, function: str = "confirm") -> str:
        return f"{self.app}.{function}.dlt"

    def run_until_idle(self) -> None:
        """Serve all there is."""
        with self.fleet as fleet:
            runtime = fleet.start("--until-idle")
            assert runtime.process.wait(60) == 0, runtime.tail

    def seen(self, topic: str, count: int) -> list[Seen]:
        """That many committed records of a topic; there are no more."""
        self.outside.emit(topic, [("last", "last")])
        watch = self.outside.watch(topic)
        last = watch.wait(
            lambda seen: len(seen) > count and any(one.data == "last" for one in seen),
            f"{count} of {topic}, and a last",
        )
        assert len(last) == count + 1
        return [one for one in last if one.data != "last"]


@pytest.fixture
def outside(kafka: Broker) -> Iterator[Outside]:
    with Outside(kafka.bootstrap) as one:
        yield one


CONFIRM = """
@function("ORDERS", emits={"EMAILS": EmailSent}, guarantee="GUARANTEE")
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""


@guarantees
def test_of_a_topic_written_in_transactions_what_was_committed_is_handled_and_no_more(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    shop = Shop(tmp_path, kafka.url, outside, CONFIRM, GUARANTEE=guarantee)
    outside.make(shop.orders, partitions=3)
    outside.make(shop.emails)
    for n in range(12):
        written = [(f"k{n % 5}", {"n": 10 * n + i}) for i in range(10)]
        outside.transact("their-producer", shop.orders, written, commit=n % 3 != 1)
    shop.run_until_idle()
    committed = [10 * n + i for n in range(12) for i in range(10) if n % 3 != 1]
    emails = shop.seen(shop.emails, len(committed))
    assert Counter(email.data["n"] for email in emails) == Counter(committed)
    assert shop.notes.attempts() == Counter((n, 1) for n in committed)


@guarantees
@pytest.mark.parametrize("own_kafka", [{"log.cleaner.backoff.ms": "100"}], indirect=True)
def test_of_a_compacted_topic_what_is_left_is_handled_in_order(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str
) -> None:
    with Outside(own_kafka.bootstrap) as outside:
        shop = Shop(tmp_path, own_kafka.url, outside, CONFIRM, GUARANTEE=guarantee)
        outside.make(shop.orders, cleanup_policy="compact", segment_ms="50", min_cleanable_dirty_ratio="0.001")
        outside.make(shop.emails)
        written = write_until_compacted(outside, shop.orders)
        shop.run_until_idle()
        handled = [note.n for note in shop.notes.starts()]
        assert len(handled) == len(set(handled)) < written
        for key in (0, 1):
            of_key = [n for n in handled if n % 2 == key]
            assert of_key == sorted(of_key)
        assert max(handled) == written - 1, "the newest is never compacted away"
        assert {email.data["n"] for email in shop.seen(shop.emails, len(handled))} == set(handled)


def write_until_compacted(outside: Outside, topic: str) -> int:
    """Write orders of two keys until some have been compacted away; how many were written."""
    n = 0
    while True:
        outside.emit(topic, [(f"k{n % 2}", {"n": n})])
        n += 1
        if n % 20 == 0:
            watch = outside.watch(topic)
            seen = watch.wait(lambda seen, n=n: bool(seen) and seen[-1].data["n"] == n - 1, "the newest")
            if len(seen) < n:
                return n


LARGE = """
@function("ORDERS", emits="EMAILS", guarantee="GUARANTEE", retry=Retry(attempts=3, delay=0.05))
def confirm(order: bytes, ctx: Context) -> None:
    note("start", len(order), ctx)
    ctx.emit("EMAILS", order)
"""


@guarantees
def test_events_of_900_kb_are_handled_and_emitted(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    shop = Shop(tmp_path, kafka.url, outside, LARGE, GUARANTEE=guarantee)
    outside.make(shop.orders, shop.emails, partitions=2)
    noise = [Random(n).randbytes(900_000 + n) for n in range(20)]
    outside.emit(shop.orders, [(f"k{n % 4}", data) for n, data in enumerate(noise)])
    shop.run_until_idle()
    assert sorted(email.data for email in shop.seen(shop.emails, 20)) == sorted(noise)
    assert shop.notes.attempts() == Counter((len(data), 1) for data in noise)


@guarantees
def test_an_emit_over_the_limit_of_its_topic_is_a_dead_letter_without_another_attempt(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    shop = Shop(tmp_path, kafka.url, outside, LARGE, GUARANTEE=guarantee)
    outside.make(shop.orders)
    outside.make(shop.emails, max_message_bytes="5000")
    outside.emit(shop.orders, [("k", Random(n).randbytes(size)) for n, size in enumerate([1000, 9000, 2000])])
    shop.run_until_idle()
    assert [len(email.data) for email in shop.seen(shop.emails, 2)] == [1000, 2000]
    (letter,) = shop.seen(shop.letters(), 1)
    assert len(letter.data) == 9000
    assert letter.headers["headrace-error-type"] == "EmitRefused"
    assert shop.notes.attempts() == Counter({(1000, 1): 1, (9000, 1): 1, (2000, 1): 1})


TWO = """
@function("ORDERS", emits={"EMAILS": EmailSent}, guarantee="GUARANTEE")
def confirm(order: Order, ctx: Context) -> EmailSent:
    return EmailSent(n=order.n, attempt=ctx.attempt)

@function("ORDERS", emits={"STOCK": EmailSent}, guarantee="GUARANTEE")
def reserve(order: Order, ctx: Context) -> EmailSent:
    if order.n % 10 == 3:
        raise Reject("none left")
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""


@guarantees
def test_two_functions_on_one_topic_each_handle_all_of_it(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    shop = Shop(tmp_path, kafka.url, outside, TWO, GUARANTEE=guarantee, STOCK=fresh("stock"))
    outside.make(shop.orders, partitions=3)
    outside.make(shop.emails, shop.names["STOCK"])
    outside.emit(shop.orders, [(f"k{n % 7}", {"n": n}) for n in range(200)])
    shop.run_until_idle()
    assert {email.data["n"] for email in shop.seen(shop.emails, 200)} == set(range(200))
    reserved = {one.data["n"] for one in shop.seen(shop.names["STOCK"], 180)}
    refused = {one.data["n"] for one in shop.seen(shop.letters("reserve"), 20)}
    assert refused == set(range(3, 200, 10))
    assert reserved == set(range(200)) - refused


MANY = """
@function("A", "B", "C", "D", "E", emits={"EMAILS": EmailSent}, guarantee="GUARANTEE")
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""


@guarantees
def test_one_function_on_five_topics_handles_all_of_each(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    topics = {name: fresh(name.lower()) for name in "ABCDE"}
    shop = Shop(tmp_path, kafka.url, outside, MANY, GUARANTEE=guarantee, **topics)
    for count, topic in enumerate(topics.values(), start=1):
        outside.make(topic, partitions=count)
    outside.make(shop.emails)
    for number, topic in enumerate(topics.values()):
        outside.emit(topic, [(f"k{n % 3}", {"n": 100 * number + n}) for n in range(50)])
    shop.run_until_idle()
    expected = {100 * number + n for number in range(5) for n in range(50)}
    assert {email.data["n"] for email in shop.seen(shop.emails, 250)} == expected
    assert shop.notes.attempts() == Counter((n, 1) for n in expected)


UNORDERED = """
@function(
    "ORDERS", emits={"EMAILS": EmailSent}, order="none", guarantee="GUARANTEE",
    retry=Retry(attempts=3, delay=0.3, factor=6.0, jitter="none"),
)
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    if ctx.attempt <= order.n % 4:
        raise ValueError("not yet")
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""


@guarantees
def test_without_order_retries_wait_in_topics_by_tier_and_hold_nobody_up(
    kafka: Broker, outside: Outside, tmp_path: Path, guarantee: str
) -> None:
    shop = Shop(tmp_path, kafka.url, outside, UNORDERED, GUARANTEE=guarantee)
    outside.make(shop.orders, partitions=2)
    outside.make(shop.emails)
    outside.emit(shop.orders, [("k", {"n": n}) for n in range(40)])
    shop.run_until_idle()
    emails = shop.seen(shop.emails, 30)
    assert {(email.data["n"], email.data["attempt"]) for email in emails} == {
        (n, n % 4 + 1) for n in range(40) if n % 4 < 3
    }
    letters = shop.seen(shop.letters(), 10)
    assert {letter.data["n"] for letter in letters} == {n for n in range(40) if n % 4 == 3}
    assert {letter.headers["headrace-attempt"] for letter in letters} == {"3"}
    tiers = [f"{shop.app}.confirm.retry.{tier}" for tier in ("1s", "5s")]
    assert [len(shop.seen(tier, count)) for tier, count in zip(tiers, (30, 20), strict=True)] == [30, 20]
    attempts = Counter((n, attempt) for n in range(40) for attempt in range(1, min(n % 4 + 1, 3) + 1))
    assert shop.notes.attempts() == attempts
