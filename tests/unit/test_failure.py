"""What is told of an exception: short, the user's frames only, and alike for alike failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.sandbox.failure import MAX_MESSAGE, MAX_STACK, cut, failure_of, refusal
from headrace.sandbox.outcome import Failure
from headrace.sandbox.usercode import UserCode


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError


def told(call: Callable[[], object]) -> Failure:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return failure_of(caught.value, UserCode(str(Path(__file__).parent)))


def raises(message: str) -> None:
    raise LookupError(message)


def test_a_type_is_named_in_full_unless_it_is_built_in() -> None:
    assert told(lambda: 1 / 0).type == "ZeroDivisionError"
    assert told(lambda: json.loads("{")).type == "json.decoder.JSONDecodeError"


def test_frames_of_libraries_are_left_out() -> None:
    stack = told(lambda: json.loads("{")).stack
    assert "test_failure.py" in stack
    assert "decoder.py" not in stack


def test_a_cause_is_told_too() -> None:
    def fails() -> None:
        try:
            raises("inner")
        except LookupError as error:
            raise RuntimeError("outer") from error

    failure = told(fails)
    assert (failure.type, failure.message) == ("RuntimeError", "outer")
    assert failure.stack.index("LookupError: inner") < failure.stack.index("which led to:")


def test_members_of_a_group_are_told_too() -> None:
    def fails() -> None:
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    assert "member 2: KeyError: 'two'" in told(fails).stack


def test_everything_is_cut_to_its_limit() -> None:
    def deep(n: int) -> None:
        deep(n - 1) if n else raises("é" * 10_000)

    failure = told(lambda: deep(500))
    assert MAX_MESSAGE - 3 <= len(failure.message.encode()) <= MAX_MESSAGE
    assert len(failure.stack.encode()) <= MAX_STACK
    assert "in raises" in failure.stack


def test_an_exception_that_cannot_be_shown_is_told_as_that() -> None:
    def fails() -> None:
        raise Odd

    assert "cannot be shown: ValueError" in told(fails).message


def test_the_fingerprint_is_of_type_and_place_not_of_message_or_line() -> None:
    def same(message: str) -> Failure:
        def fails() -> None:
            if message == "b":
                raises("b")
            raises("a")

        return told(fails)

    def other() -> None:
        raises("a")

    assert same("a").message != same("b").message
    assert same("a").fingerprint == same("b").fingerprint
    assert same("a").fingerprint != told(other).fingerprint
    assert len(same("a").fingerprint) == 16


def test_a_refusal_is_of_a_kind_numbers_aside() -> None:
    first, second = refusal("Rejected", "line 1: no number"), refusal("Rejected", "line 27: no number")
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != refusal("Rejected", "line 1: no text").fingerprint


@given(st.text(), st.integers(4, 100), st.booleans())
def test_a_cut_text_is_within_its_limit_and_an_end_of_it(text: str, limit: int, end: bool) -> None:
    shown = cut(text, limit, keep_end=end)
    assert len(shown.encode()) <= limit
    if shown != text:
        assert "…" in shown or len(text.encode(errors="replace")) <= limit


def test_half_a_surrogate_pair_does_not_break_it() -> None:
    assert told(lambda: raises("\ud800")).message == "?"
