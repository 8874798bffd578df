"""What is printed and not finished: kept for a while, never for good."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from headrace.functions.cloudevents import read
from headrace.sandbox import capture
from headrace.sandbox.capture import TaggedStream
from headrace.sandbox.output import Line, Lines

STREAM = "stdout"


class Pipe:
    """A stream, and what was written to it."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        self.stream = TaggedStream(self._in, STREAM, sys.__stdout__)  # type: ignore[arg-type]

    def lines(self) -> list[Line]:
        """What was written since it was asked last."""
        os.set_blocking(self._out, False)
        try:
            return Lines(STREAM, lambda: 0.0).feed(os.read(self._out, 1 << 20))
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()
    capture.running.set(None)


def event(n: int) -> None:
    """From now on this one is running."""
    capture.running.set(read({}, b"", ("orders", 0, n), "cluster"))


def test_at_the_end_of_an_event_the_unfinished_lines_of_all_its_threads_are_written(pipe: Pipe) -> None:
    all_did = threading.Barrier(4)

    def printing(n: int, text: str) -> None:
        event(n)
        pipe.stream.write(text)
        all_did.wait()

    threads = [
        threading.Thread(target=printing, args=what) for what in ((1, "first"), (2, "of another"), (1, "second"))
    ]
    for thread in threads:
        thread.start()
    event(1)
    pipe.stream.write("third")
    all_did.wait()
    pipe.stream.flush_event()
    assert {(line.event, line.text) for line in pipe.lines()} == {
        ("orders/0/1", text) for text in ("first", "second", "third")
    }
    pipe.stream.flush_lines()
    assert [(line.event, line.text) for line in pipe.lines()] == [("orders/0/2", "of another")]
    assert not pipe.stream.unfinished
    for thread in threads:
        thread.join()


def test_lines_that_nobody_comes_to_finish_are_written_when_there_are_too_many(pipe: Pipe) -> None:
    for n in range(1000):
        event(n)
        pipe.stream.write(f"left by {n}")
    written = [line.text for line in pipe.lines()]
    assert written == [f"left by {n}" for n in range(len(written))], "the oldest first"
    assert 500 < len(written) < 1000
    pipe.stream.flush_lines()
    assert len(pipe.lines()) == 1000 - len(written)
