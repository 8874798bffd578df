"""Lines of a worker's pipes: put together, told apart, bounded."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from headrace.sandbox.output import MAX_LINE, Line, Lines


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tagged(*record: object) -> bytes:
    return b"\x1e" + json.dumps(record).encode() + b"\n"


def test_a_tagged_line_names_its_event_and_stream() -> None:
    lines = Lines("stdout", Clock())
    assert lines.feed(tagged("e1", "stderr", "careful", None, None)) == [Line("stderr", "careful", "e1", None, None)]
    record = tagged("e1", "log", "sent", "info", {"to": "a\x1b[0m", "n": 1})
    assert lines.feed(record) == [Line("log", "sent", "e1", "info", {"to": "a[0m", "n": 1})]


@given(st.lists(st.text(alphabet="ab\u00e9 ", max_size=20), max_size=10), st.data())
def test_lines_do_not_depend_on_how_the_bytes_are_cut(texts: list[str], data: st.DataObject) -> None:
    stream = "".join(f"{text}\n" for text in texts).encode()
    lines, said = Lines("stdout", Clock()), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        said += lines.feed(stream[:size])
        stream = stream[size:]
    assert [line.text for line in said + lines.end()] == texts


def test_what_is_unfinished_at_the_end_is_a_line() -> None:
    lines = Lines("stderr", Clock())
    assert lines.feed(b"no newline") == []
    assert lines.end() == [Line("stderr", "no newline", None, None, None)]
    assert lines.end() == []


def test_control_characters_are_taken_out_and_long_lines_cut() -> None:
    (line,) = Lines("stdout", Clock()).feed(b"\x1b[31mred\x00\t\xc2\x85\xe2\x80\xae" + b"x" * 100_000 + b"\n")
    assert line.text.startswith("[31mred\tx")
    assert len(line.text) <= MAX_LINE


def test_lines_beyond_the_rate_are_dropped_and_counted() -> None:
    clock = Clock()
    lines = Lines("stdout", clock, rate=10)
    assert len(lines.feed(b"x\n" * 25)) == 10
    assert lines.feed(b"x\n") == []
    clock.now += 1
    told = lines.feed(b"y\n")
    assert [line.text for line in told] == ["16 lines dropped: more than 10 in a second", "y"]
    assert told[0].level == "warning"


def test_the_last_lines_are_remembered_even_where_they_are_dropped() -> None:
    lines = Lines("stderr", Clock(), rate=5)
    lines.feed(b"".join(b"line %d\n" % n for n in range(100)))
    lines.feed(b"the end\n")
    assert len(lines.last) == 20
    assert list(lines.last)[-2:] == ["line 99", "the end"]


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    lines = Lines("stdout", Clock())
    told = lines.feed(b"\x1e" + data + b"\n") + lines.feed(data) + lines.end()
    assert all(isinstance(line.text, str) for line in told)
