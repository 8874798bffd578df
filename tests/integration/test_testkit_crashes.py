"""Crash points: what survives a crash at every write passes, and what does not is told with the write."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from mailroom import Mail, Order

from headrace import Batch, BrokerError, Context, DeclarationError, Reject, Retry, function
from headrace.runtime.ports import Settlement
from headrace.testing import CrashReport, TestApp, check_crash_points, crash_points
from headrace.triggers.brokers.memory import MemoryLog

steadily = Retry(attempts=3, delay=60.0, jitter="none")
runs: list[str] = []


@function("orders", emits={"emails": Mail}, retry=steadily)
def confirm(order: Order, ctx: Context) -> Mail:
    runs.append(order.id)
    if order.id == "flaky" and ctx.attempt < 3:
        raise ConnectionError("no server")
    if order.id == "broken":
        raise ValueError("never")
    if order.id == "stolen":
        raise Reject("the card is stolen")
    return Mail(order=order.id)


@function("emails", emits="archive", guarantee="effectively-once")
async def archive(mail: Mail) -> Mail:
    await asyncio.sleep(0)
    return mail


@function("orders", emits="sums", batch=Batch(size=3, wait=1.0), order="none")
def count(orders: list[Order]) -> list[Mail | None]:
    return [Mail(order=order.id) for order in orders]


def shop(app: TestApp) -> None:
    for number, id_ in enumerate(["well", "flaky", "broken", "stolen", "fine", "good"]):
        app.emit("orders", Order(id=id_), key=str(number % 2))
    app.run_until_idle()
    assert sorted(mail.model(Mail).order for mail in app.topic("emails")) == ["fine", "flaky", "good", "well"]
    assert [letter.attempt for letter in app.dead_letters(confirm)] in ([3, 1], [1, 3])


# -- what passes ------------------------------------------------------------------------------------------------------


def test_retries_dead_letters_and_chains_survive_a_crash_at_every_write() -> None:
    runs.clear()
    report = check_crash_points(shop, confirm, archive, partitions=2)
    assert report.crashes == 2 * len(report.writes)
    assert any("test.confirm settled orders/" in write and "with 1 record" in write for write in report.writes)
    whole = 10  # six orders, of which one has three attempts, and so has another
    assert len(runs) > whole * (report.crashes + 2)  # what a crash lost ran again


def test_batches_survive_too() -> None:
    assert check_crash_points(shop, confirm, count, partitions=1).crashes > 0


def test_attempts_are_those_that_count() -> None:
    lost: list[int] = []

    def scenario(app: TestApp) -> None:
        shop(app)
        assert len(app.attempts(confirm)) == 10
        assert [one.attempt for one in app.attempts(confirm) if one.event.id == "orders-2"] == [1, 2, 3]
        lost.append(len(app.attempts(lost=True)) - len(app.attempts()))
        assert ("lost in the crash" in app.story()) == bool(lost[-1])

    check_crash_points(scenario, confirm)
    assert {0, 1} <= set(lost)


def test_points_select_the_writes() -> None:
    assert check_crash_points(shop, confirm, points=[2, 5]).crashes == 4
    with pytest.raises(ValueError, match="there is no write 1000; the scenario makes"):
        check_crash_points(shop, confirm, points=[1000])


def test_a_scenario_may_be_async_and_need_not_run_to_the_end() -> None:
    async def scenario(app: TestApp) -> None:
        app.emit("orders", Order(id="flaky"))
        await app.aadvance(90)
        app.emit("orders", Order(id="well"), delay=10)

    report = check_crash_points(scenario, confirm, archive, partitions=1)
    assert isinstance(report, CrashReport)


states: list[str] = []


def state() -> Iterator[str]:
    states.append("open")
    yield "state"
    states.append("closed")


@function("orders", setup=state)
def stateful(order: Order, ctx: Context[str]) -> None:
    assert ctx.state == "state"


def test_the_next_runtime_sets_up_anew_and_what_the_last_one_had_is_closed() -> None:
    def scenario(app: TestApp) -> None:
        app.emit("orders", Order(id="1"))
        app.run_until_idle()
        app.emit("orders", Order(id="2"))
        app.run_until_idle()

    states.clear()
    report = check_crash_points(scenario, stateful, partitions=1)
    assert states.count("open") == states.count("closed") > report.crashes


# -- without transactions ---------------------------------------------------------------------------------------------


@function("orders", emits="tried", retry=steadily, order="none")
def loosely(order: Order, ctx: Context) -> Mail:
    if ctx.attempt < 3:
        raise ConnectionError("no server")
    return Mail(order=order.id)


def test_without_transactions_events_may_be_there_twice_and_none_is_lost() -> None:
    most: list[int] = []

    def scenario(app: TestApp) -> None:
        orders(app)
        app.run_until_idle()
        ids = [mail.id for mail in app.topic("emails")]
        assert len(set(ids)) == 3
        most.append(len(ids))

    check_crash_points(scenario, confirm, loosely, partitions=1, transactions=False)
    assert most[0] == 3
    assert max(most) > 3


def test_without_transactions_what_needs_them_is_refused() -> None:
    with pytest.raises(DeclarationError, match="guarantee='effectively-once' needs transactions"):
        TestApp(archive, transactions=False)
    with pytest.raises(BrokerError, match="cannot keep an event back"):
        TestApp(confirm, transactions=False).emit("orders", Order(id="1"), delay=1)


def test_without_transactions_what_forgets_is_found_too() -> None:
    with pytest.raises(AssertionError, match="'emails': missing: Mail"):
        check_crash_points(forgetful, only_once, partitions=1, transactions=False)


# -- as a decorator ---------------------------------------------------------------------------------------------------


@crash_points(confirm, archive, partitions=1)
def test_a_test_is_a_scenario(app: TestApp, tmp_path: Any) -> None:
    assert tmp_path.is_dir()
    shop(app)


@crash_points(archive, partitions=1)
async def test_an_async_test_is_a_scenario_on_its_own_loop(app: TestApp) -> None:
    app.emit("emails", Mail(order="1"))
    await app.arun_until_idle()
    assert len(app.topic("archive")) == 1


class TestMethods:
    @crash_points(confirm, partitions=1, points=[1])
    def test_a_method_is_a_scenario(self, app: TestApp) -> None:
        shop(app)


def test_the_other_parameters_are_fixtures() -> None:
    assert list(inspect.signature(test_a_test_is_a_scenario).parameters) == ["tmp_path"]
    assert list(inspect.signature(TestMethods.test_a_method_is_a_scenario).parameters) == ["self"]


# -- what does not pass -----------------------------------------------------------------------------------------------

seen: set[str] = set()


@function("orders", emits="emails")
def only_once(order: Order, ctx: Context) -> Mail | None:
    if ctx.event.id in seen:  # remembered where a crash of the runtime does not reach
        return None
    seen.add(ctx.event.id)
    return Mail(order=order.id)


def orders(app: TestApp) -> None:
    for nth in range(3):
        app.emit("orders", Order(id=str(nth)), key="a")


def forgetful(app: TestApp) -> None:
    seen.clear()
    orders(app)


def test_a_handler_that_remembers_in_memory_what_it_did_is_found() -> None:
    with pytest.raises(AssertionError) as caught:
        check_crash_points(forgetful, only_once, partitions=1)
    first, second, third = str(caught.value).splitlines()
    write = "write 2 of 4 (test.only_once settled orders/0 with 1 record)"
    assert first == f"a crash right before {write} changes what is in the topics:"
    assert second == "  topic 'emails': missing: Mail fc3c21e3cfbda5b15eccbfb918655ada, key 'a': {\"order\":\"0\"}"
    assert third == "to have this crash alone: points=[2]"


@function("orders", emits="emails")
def numbered(order: Order) -> Mail:
    return Mail(order=f"{next(numbers[0])}")


numbers = [itertools.count()]


def test_a_handler_that_depends_on_chance_is_found_without_a_crash() -> None:
    with pytest.raises(AssertionError, match=r"without a crash leave different events(.|\n)*changed: Mail .*is now"):
        check_crash_points(orders, numbered)


def test_a_handler_that_counts_its_runs_is_found_by_a_crash() -> None:
    def scenario(app: TestApp) -> None:
        numbers[0] = itertools.count()
        orders(app)

    with pytest.raises(AssertionError, match=r"right before write 2 of (.|\n)*'emails': changed: Mail .*\"0\".*\"1\""):
        check_crash_points(scenario, numbered, partitions=1)


_settle = MemoryLog.settle


async def _publish_then_note(self: MemoryLog, settlement: Settlement) -> None:
    if settlement.appends:
        await self.append(settlement.appends)
    await _settle(self, replace(settlement, appends=()))


async def _note_then_publish(self: MemoryLog, settlement: Settlement) -> None:
    await _settle(self, replace(settlement, appends=()))
    if settlement.appends:
        await self.append(settlement.appends)


def test_a_log_that_publishes_before_it_notes_progress_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryLog, "settle", _publish_then_note)
    with pytest.raises(AssertionError, match=r"right after write 2 (.|\n)*'emails': doubled: Mail"):
        check_crash_points(orders, confirm, partitions=1)


def test_a_log_that_notes_progress_before_it_publishes_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryLog, "settle", _note_then_publish)
    with pytest.raises(AssertionError, match=r"right after write 2 (.|\n)*'emails': missing: Mail"):
        check_crash_points(orders, confirm, partitions=1)


def test_what_the_scenario_finds_itself_is_told_with_the_write() -> None:
    def scenario(app: TestApp) -> None:
        orders(app)
        app.run_until_idle()
        assert len(app.attempts(lost=True)) == 3

    with pytest.raises(AssertionError) as caught:
        check_crash_points(scenario, confirm, partitions=1)
    assert caught.value.__notes__ == [
        "in a run whose runtime died right before write 2 (test.confirm settled orders/0 with 1 record)"
    ]
