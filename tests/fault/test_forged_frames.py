"""Handlers that write to the parent themselves: a forged frame ends its worker, and nobody else's."""

from __future__ import annotations

import struct

import msgspec
import pytest
from lab import Lab, task

from headrace.sandbox.outcome import Crashed, Done, Emitted, Failed, Failure, Postponed
from headrace.sandbox.wire import MAX_REPORT, VERSION, Broken, Ready, Report, frame

FORGER = """
@function("orders", emits="out")
def forge(data: dict) -> None:
    os.write(3, Path(%r).read_bytes())
    threading.Event().wait()
"""


def emit(topic: str = "out", partition: int = 0, headers: bytes = b"", value: bytes = b"", timestamp: int = 0) -> Done:
    return Done([Emitted(topic, partition, timestamp, None, value, headers, "id")])


def report(chunk: int, *outcomes: object, first: int = 0, spent: int = 0) -> bytes:
    return frame(Report(chunk, first, list(outcomes), spent))  # type: ignore[arg-type]


FAILURE = Failure("ValueError", "odd")
FORGED = {
    "an oversized length": struct.pack("<I", MAX_REPORT + 1) + b"x",
    "the largest length": b"\xff\xff\xff\xff",
    "no msgpack": struct.pack("<I", 3) + b"\xc1\xc1\xc1",
    "no reply": struct.pack("<I", 2) + msgspec.msgpack.encode([9]),
    "a command": frame(Broken("import", FAILURE)),
    "a second ready": frame(Ready(VERSION, "code")),
    "an unknown chunk": report(99, None),
    "an index ahead": report(1, None, first=1),
    "an index before": report(1, None, first=-1),
    "more than it was given": report(1, None, None, None),
    "nothing": report(1),
    "the same twice": report(1, None) + report(1, None),
    "a crash": report(1, Crashed(FAILURE)),
    "an undeclared topic": report(1, emit("elsewhere")),
    "a partition too many": report(1, emit(partition=4)),
    "a partition below": report(1, emit(partition=-1)),
    "a value too large": report(1, emit(value=b"x" * ((1 << 20) + 1))),
    "headers that are none": report(1, emit(headers=b"\xc1")),
    "a time beyond": report(1, emit(timestamp=1 << 63)),
    "a rule there is not": report(1, Failed(FAILURE, 1)),
    "a wait without end": report(1, Postponed(float("inf"))),
    "a wait of no number": report(1, Postponed(float("nan"))),
    "a book of a failure": report(1, Failed(Failure("x", "y" * (1 << 20)))),
    "a time that took no time": report(1, None, spent=-1),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_frame_ends_its_worker(lab: Lab, forged: bytes) -> None:
    file = lab.folder / "forged"
    file.write_bytes(forged)
    worker, ear = await lab.start(FORGER % str(file))
    chunk = lab.chunk(task(offset=0), task(offset=1))
    assert chunk.id == 1
    worker.send(chunk)
    death = await ear.death()
    assert death.reason == "protocol", death
    assert "the worker sent" in death.detail


async def test_a_broken_protocol_does_not_disturb_a_neighbour(lab: Lab) -> None:
    neighbour, told = await lab.start('@function("orders")\ndef quiet(data: dict) -> None: ...\n')
    file = lab.folder / "forged"
    file.write_bytes(FORGED["an oversized length"])
    worker, ear = await lab.start(FORGER % str(file))
    worker.send(lab.chunk(task()))
    await ear.death()
    chunk = lab.chunk(task())
    neighbour.send(chunk)
    assert await told.outcomes_of(chunk.id, 1) == [None]


async def test_forged_lines_are_only_lines(lab: Lab) -> None:
    worker, ear = await lab.start(
        r"""
        @function("orders")
        def forge(data: dict) -> None:
            for line in (b'\x1e', b'\x1e[1,2]', b'\x1e{"a":1}', b'\x1e[["x"],"stdout",{},5,[]]', b'\x1e' + b'[' * 9000,
                         b'\xff\xfe', b'x' * 500_000, b'\x1e["e","elsewhere","spoofed",null,null]'):
                os.write(1, line + b'\n')
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    line = await ear.line("spoofed")
    assert (line.stream, line.event) == ("stdout", "e")
    assert max(len(line.text) for line in ear.lines) <= 16_000
    assert ear.deaths == []
