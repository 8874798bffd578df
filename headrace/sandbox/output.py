"""What a worker says on its stdout and stderr: lines, told apart by event, at a bounded rate.

Two forms of line arrive on a pipe. Text written through `sys.stdout` or `sys.stderr`, and log records, come as
`\\x1e` + JSON `[event id, stream, text, level, fields]` (see `capture`); whatever else (C code, `os.write`) comes bare.
A handler can forge either, so tags are taken for what they are worth and nothing depends on them.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TAG = b"\x1e"
MAX_LINE = 16_000
RATE = 2000  # lines a second passed on; what is beyond is counted and dropped

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STREAMS = {"stdout", "stderr", "log"}


@dataclass(frozen=True)
class Line:
    """A captured line, or a structured log record (`stream` is "log", with its `level` and `fields`).

    `event` is the id of the event it belongs to, as far as known. Control characters are taken out.
    """

    stream: str
    text: str
    event: str | None
    level: str | None
    fields: Mapping[str, Any] | None


class Lines:
    """Bytes of one pipe in, lines out. `clock` gives monotonic seconds."""

    def __init__(self, stream: str, clock: Callable[[], float], rate: int = RATE) -> None:
        self.last: deque[str] = deque(maxlen=20)
        self._stream = stream
        self._clock = clock
        self._rate = rate
        self._second = 0.0
        self._passed = 0
        self._dropped = 0
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes, as far as the rate allows."""
        *whole, rest = data.split(b"\n")
        if not whole:
            self._keep(rest)
            return []
        whole[0] = bytes(self._partial) + whole[0]
        self._partial.clear()
        self._keep(rest)
        return self._pass(whole)

    def end(self) -> list[Line]:
        """The unfinished line at the end of the pipe, if any, and how many were dropped."""
        rest, self._partial = bytes(self._partial), bytearray()
        lines = self._pass([rest]) if rest else []
        return lines + self._tell_of_drops()

    def _keep(self, rest: bytes) -> None:
        if (room := 2 * MAX_LINE - len(self._partial)) > 0:
            self._partial += rest[:room]

    def _pass(self, raw: Sequence[bytes]) -> list[Line]:
        told: list[Line] = []
        now = self._clock()
        if now - self._second >= 1:
            told = self._tell_of_drops()
            self._second, self._passed = now, 0
        room = self._rate - self._passed
        passed = [_parse(line, self._stream) for line in raw[:room]]
        self._passed += len(passed)
        self._dropped += len(raw) - len(passed)
        # A crash is explained by the very end of the output, so that is remembered even where it is not passed on.
        end = passed[-20:] if len(raw) <= room else [_parse(line, self._stream) for line in raw[-20:]]
        self.last.extend(line.text for line in end)
        return told + passed

    def _tell_of_drops(self) -> list[Line]:
        if not self._dropped:
            return []
        text = f"{self._dropped:,} lines dropped: more than {self._rate:,} in a second"
        self._dropped = 0
        return [Line(self._stream, text, None, "warning", None)]

    def __repr__(self) -> str:
        return f"<Lines of {self._stream}: {self._passed} passed in this second, {self._dropped} dropped>"


def _parse(raw: bytes, stream: str) -> Line:
    if raw.startswith(TAG):
        try:
            event, tagged, text, level, fields = json.loads(raw[1 : 2 * MAX_LINE])
        except (ValueError, TypeError, RecursionError):
            pass
        else:
            return Line(
                tagged if tagged in _STREAMS else stream,
                _clean(str(text)),
                _clean(event[:200]) if isinstance(event, str) else None,
                level[:20] if isinstance(level, str) else None,
                {_clean(str(name)): _plain(value) for name, value in fields.items()}
                if isinstance(fields, dict)
                else None,
            )
    return Line(stream, _clean(raw.decode("utf-8", "replace")), None, None, None)


def _clean(text: str) -> str:
    return _CONTROL.sub("", text[:MAX_LINE])


def _plain(value: object) -> object:
    return _clean(value) if isinstance(value, str) else value
