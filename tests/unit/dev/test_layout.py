"""Accounts as lines."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from headrace.cli.dev.account import Account
from headrace.cli.dev.layout import Layout, folded
from headrace.cli.dev.trace import short_trace
from headrace.sandbox.outcome import Emitted, Failure

AT = datetime(2026, 11, 21, 12, 3, 4, 120_000, UTC)
PROJECT = Path("/home/me/shop")
STACK = """\
  File "/home/me/shop/mail.py", line 5, in dial
    raise ConnectionError("refused")
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ConnectionError: refused
which led to:
  File "/home/me/shop/functions.py", line 17, in confirm_order
    send(order)
  File "/elsewhere/kit.py", line 40, in send
    raise MailError("450 busy") from error
"""
DONE = Account(
    at=AT,
    function="confirm_order",
    type="OrderPlaced",
    id="3f2a9c1e77aa",
    topic="orders",
    partition=2,
    offset=17,
    attempt=1,
    attempts=3,
    outcome="done",
    why="",
    then="",
    again_s=None,
    spent_ms=12.34,
    emits=(),
    failure=None,
    code="c0de",
)
FAILED = dataclasses.replace(
    DONE, outcome="failed", then="again", again_s=1.3, failure=Failure("mail.MailError", "450 busy", STACK)
)


def lines(account: Account, width: int | None = None) -> list[str]:
    layout = Layout(PROJECT, width=width, colour=False)
    layout.learn("confirm_order")
    return layout.account(account)


def ending(account: Account) -> str:
    return lines(account)[0].partition(" ms  ")[2]


def test_a_line_says_what_happened_to_which_event_where_and_how_long_it_took() -> None:
    emits = tuple(Emitted(topic, 0, 0, None, b"", b"", "x", type_) for topic, type_ in EMITS)
    assert lines(dataclasses.replace(DONE, emits=emits)) == [
        "12:03:04.120  confirm_order  orders/2@17  OrderPlaced 3f2a9c1e   12.3 ms  done  -> emails EmailSent x2, audit"
    ]


EMITS = [("emails", "EmailSent"), ("audit", None), ("emails", "EmailSent")]


def test_a_failure_is_followed_by_the_error_and_the_users_own_lines_the_nearest_first() -> None:
    assert lines(FAILED)[0].endswith("12.3 ms  failed 1/3 -> again in 1.3 s")
    assert lines(FAILED)[1:] == [
        "    mail.MailError: 450 busy",
        '      /elsewhere/kit.py:40 in send: raise MailError("450 busy") from error',
        "      functions.py:17 in confirm_order: send(order)",
        "    caused by ConnectionError: refused",
        '      mail.py:5 in dial: raise ConnectionError("refused")',
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outcome": "skipped", "why": "of type Other"}, "skipped: of type Other"),
        ({"outcome": "done", "attempt": 2}, "done 2/3"),
        ({"outcome": "rejected", "then": "dead-lettered"}, "rejected -> dead-lettered"),
        ({"outcome": "failed", "then": "dead-lettered", "attempt": 3}, "failed 3/3 -> dead-lettered"),
        ({"outcome": "timed-out", "then": "again", "again_s": 150}, "timed out 1/3 -> again in 2.5 min"),
        ({"outcome": "crashed", "then": "discarded", "attempt": 3}, "crashed 3/3 -> discarded"),
        ({"outcome": "postponed", "then": "again", "again_s": 5.0}, "postponed 1/3 -> again in 5.0 s"),
    ],
)
def test_each_outcome_and_what_follows_has_its_words(changes: dict[str, object], said: str) -> None:
    assert ending(dataclasses.replace(DONE, **changes)) == said


def test_columns_stay_aligned_for_other_names_places_and_widths_of_letters() -> None:
    layout = Layout(PROJECT, width=None, colour=False)
    for name in ("confirm_order", "s", "注文"):
        layout.learn(name)
    accounts = [DONE, dataclasses.replace(DONE, function="s", offset=18), dataclasses.replace(DONE, function="注文")]
    found = [layout.account(account)[0] for account in accounts]
    assert len({cell_len(line.partition("orders/")[0]) for line in found}) == 1
    assert len({cell_len(line) for line in found}) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 109, 110, 200])
@pytest.mark.parametrize("account", [DONE, FAILED])
def test_no_line_is_longer_than_the_terminal_and_the_result_is_always_there(account: Account, width: int) -> None:
    first, *more = lines(account, width)
    assert all(cell_len(line) <= max(width, 59) for line in (first, *more))
    assert account.outcome[:4] in first


def test_colours_change_nothing_but_the_look() -> None:
    coloured = Layout(PROJECT, width=None, colour=True)
    coloured.learn("confirm_order")
    shown = coloured.account(FAILED)
    assert shown != lines(FAILED)
    assert [click.unstyle(line) for line in shown] == lines(FAILED)


def test_what_an_event_or_an_error_says_cannot_do_anything_to_the_terminal() -> None:
    evil = "\x1b[2J\x07\u202e"
    failure = Failure("ValueError", evil, f'  File "/home/me/shop/{evil}.py", line 1, in f\n    x\n')
    account = dataclasses.replace(
        DONE, outcome="failed", failure=failure, type=evil, id=evil, why=evil, emits=(_emitted(evil),)
    )
    text = "\n".join(lines(account))
    layout = Layout(PROJECT, width=None, colour=False)
    text += layout.output(AT, "f", evil, mark="|", event=evil) + "\n".join(layout.notice(AT, evil))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def _emitted(type_: str) -> Emitted:
    return Emitted("emails", 0, 0, None, b"", b"", "x", type_)


def test_a_long_trace_and_a_long_message_are_cut() -> None:
    stack = "".join(f'  File "/home/me/shop/a.py", line {n}, in f\n    f({n})\n' for n in range(100))
    told = short_trace(Failure("RecursionError", "\n".join(map(str, range(50))), stack), PROJECT)
    assert told[0] == "RecursionError: 0"
    assert told[5] == "…"
    assert told[6:] == [*(f"  a.py:{n} in f: f({n})" for n in (99, 98, 97, 96)), "  … 96 more"]


def test_a_stack_that_is_none_is_shown_as_no_lines() -> None:
    assert short_trace(Failure("WorkerCrashed", "killed by SIGSEGV", "some words"), PROJECT) == [
        "WorkerCrashed: killed by SIGSEGV"
    ]


def test_what_was_counted_is_told_by_outcome_and_function() -> None:
    counted = {("done", "confirm_order"): 1200, ("failed", "confirm_order"): 3, ("done", "count"): 40}
    assert folded(counted) == "… 1,240 more done, 3 failed (confirm_order 1,203, count 40)"
