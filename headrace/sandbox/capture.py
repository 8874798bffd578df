"""What handlers print and log, tagged with the event that was being handled. See `output` for the other end."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterable, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

import structlog

from headrace.functions.cloudevents import Envelope
from headrace.functions.event import Event
from headrace.sandbox.output import MAX_LINE, TAG

_MAX_UNFINISHED = 256  # lines; what a thread leaves that outlives its event, nobody comes to finish

running: ContextVar[Envelope | None] = ContextVar("headrace-running", default=None)
"""The event being handled: set by the invocation, inherited by the tasks that the handler starts."""


class TaggedStream(io.TextIOBase):
    """A text stream that writes each line whole to a file descriptor, tagged with the running event.

    Threads of one event may print at once: each has its own unfinished line. `raw` is the stream it stands in for: its
    `buffer` takes bytes, untagged.
    """

    encoding = "utf-8"

    def __init__(self, fd: int, name: str, raw: io.TextIOWrapper) -> None:
        self._fd = fd
        self._name = name
        self._raw = raw
        self._partial: dict[tuple[str | None, int], str] = {}  # by event and thread

    def write(self, text: str) -> int:
        """Write the lines that `text` completes; the rest is kept until its line ends."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes str, not {type(text).__name__}")
        event = _event_id()
        key = event, threading.get_ident()
        *lines, rest = (self._partial.pop(key, "") + text).split("\n")
        for line in lines:
            _write(self._fd, [event, self._name, line, None, None])
        if len(rest) > MAX_LINE:
            _write(self._fd, [event, self._name, rest, None, None])
        elif rest:
            self._partial[key] = rest
            if len(self._partial) > _MAX_UNFINISHED:
                self._finish(list(self._partial)[0])  # noqa: RUF015  (an iterator would meet what other threads write)
        return len(text)

    def flush_lines(self) -> None:
        """Write unfinished lines, too."""
        for key in list(self._partial):
            self._finish(key)

    def flush_event(self) -> None:
        """Write the unfinished lines of the running event, too."""
        event = _event_id()
        for key in list(self._partial):
            if key[0] == event:
                self._finish(key)

    def _finish(self, key: tuple[str | None, int]) -> None:
        if line := self._partial.pop(key, ""):  # unless its thread has, just now
            _write(self._fd, [key[0], self._name, line, None, None])

    @property
    def unfinished(self) -> bool:
        """Whether there are unfinished lines."""
        return bool(self._partial)

    @property
    def buffer(self) -> io.BufferedWriter:
        """The bytes beneath."""
        return self._raw.buffer  # type: ignore[return-value]

    def fileno(self) -> int:
        """The file descriptor, for programs that are run."""
        return self._fd

    def writable(self) -> bool:
        """Yes."""
        return True

    def __repr__(self) -> str:
        return f"<TaggedStream {self._name}, {len(self._partial)} unfinished lines>"


class Capture:
    """`sys.stdout` and `sys.stderr` of a worker, replaced from `install` on; by `streams`, if there are some."""

    def __init__(self, streams: Sequence[TaggedStream] = ()) -> None:
        self._streams = streams or [
            TaggedStream(fd, name, raw)
            for fd, name, raw in ((1, "stdout", sys.__stdout__), (2, "stderr", sys.__stderr__))
            if isinstance(raw, io.TextIOWrapper)
        ]

    def install(self) -> None:
        """Take the place of the interpreter's own streams."""
        sys.stdout, sys.stderr = self._streams

    def flush(self) -> None:
        """Let go of unfinished lines: the chunk they belong to is about to be reported."""
        for stream in self._streams:
            if stream.unfinished:
                stream.flush_lines()

    def flush_event(self) -> None:
        """Let go of the running event's unfinished lines: it is about to be reported, others go on."""
        for stream in self._streams:
            if stream.unfinished:
                stream.flush_event()

    def __repr__(self) -> str:
        return f"<Capture of {self._streams}>"


class _Records:
    """Where log records end up: on what stdout is captured by, as lines of their own kind."""

    fd = 1

    def msg(self, record: list[Any]) -> None:
        _write(self.fd, record)

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


def move_records(fd: int) -> None:
    """Have log records written to `fd`: stdout is somebody else's now."""
    _Records.fd = fd


def logger_for(event: Event | None, function: str) -> structlog.stdlib.BoundLogger:
    """A structured logger whose records carry this event, if any."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        _Records(),
        processors=[structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.format_exc_info, _record],
        wrapper_class=structlog.stdlib.BoundLogger,
        function=function,
        event_id=None if event is None else event.id,
    )
    return logger


def log_error(text: str, **fields: Any) -> None:
    """Log an error of the worker itself, of no event."""
    _write(_Records.fd, [None, "log", text, "error", fields])


def _record(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> tuple[tuple[list[Any]], dict[str, Any]]:
    event_id, text = fields.pop("event_id", None), str(fields.pop("event", ""))
    fields.pop("function", None)  # the parent knows
    level = "error" if method == "exception" else method
    return ([event_id, "log", text, level, dict(fields)],), {}


def _event_id() -> str | None:
    envelope = running.get()
    return None if envelope is None else envelope.id


def _write(fd: int, record: Iterable[Any]) -> None:
    event, stream, text, level, fields = record
    data = _encode([event, stream, text[:MAX_LINE], level, fields])
    if len(data) > 2 * MAX_LINE:  # escapes take up to 12 bytes a character, fields what they like
        data = _encode(
            [event, stream, text[: MAX_LINE // 8], level, fields and {"dropped": "its fields were too long"}]
        )
    while data:  # a signal may cut a write short
        data = data[os.write(fd, data) :]


def _encode(record: list[Any]) -> bytes:
    return TAG + json.dumps(record, default=repr, skipkeys=True).encode() + b"\n"
