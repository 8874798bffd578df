"""The console: what happened to each event, as lines for a person."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import structlog

from headrace.cli.dev.account import WELL, account_of, outcome_word
from headrace.cli.dev.flood import SECOND, Flood
from headrace.cli.dev.layout import Layout, folded
from headrace.cli.dev.timer import Timer
from headrace.cli.dev.trace import near
from headrace.runtime.hooks import hookimpl
from headrace.runtime.result import Result
from headrace.runtime.state import BROKER_AWAY
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.output import Line

_TONES = {"warning": "warn", "error": "bad", "critical": "bad"}


class Console:
    """Observes an engine and prints to `stream`; implements `Teller`. `on_gone` is called once nobody reads along."""

    def __init__(self, folder: Path, on_gone: Callable[[], None], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._is_terminal = self._stream.isatty()
        self._on_gone = on_gone
        self._gone = False
        colour = self._is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._layout = Layout(folder, width=None, colour=colour)
        self._attempts: Flood[tuple[str, str]] = Flood()
        self._lines: Flood[tuple[str, str]] = Flood(troubled=0)
        self._timer = Timer(SECOND, self._tell_counts)
        self._away: set[str] = set()  # functions whose broker is away
        self._paused: set[str] = set()

    # -- what the engine tells ----------------------------------------------------------------------------------------

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """A line for each attempt, unless there are too many."""
        now_s, at = time.monotonic(), datetime.now().astimezone()
        told = self._counts(now_s)
        for result in results:
            if (word := outcome_word(result)) is None:
                continue
            shown = self._attempts.admit((word.replace("-", " "), function.name), trouble=word not in WELL)
            if shown and (account := account_of(function, result, at)) is not None:
                told += self._layout.account(account)
        self._write(told)

    @hookimpl
    def output(self, function: FunctionSpec, lines: Sequence[Line]) -> None:
        """What handlers print and log, under their name: `|` stdout, `!` stderr, `*` the log."""
        now_s, at = time.monotonic(), datetime.now().astimezone()
        told = self._counts(now_s)
        for line in lines:
            if self._lines.admit(("lines of output", function.name)):
                mark, text = _marked(line)
                told.append(self._layout.output(at, function.name, text, mark=mark, event=line.event))
        self._write(told)

    @hookimpl
    def function_state(self, function: str, state: str, reason: str) -> None:
        """Pauses, and brokers that come and go; the coming and going of work shows itself."""
        away = reason.startswith(BROKER_AWAY)
        if away and function not in self._away:
            self._say(f"waits for the broker: {reason.removeprefix(BROKER_AWAY)}", "warn", function)
        elif not away and function in self._away:
            self._say("the broker is back", "good", function)
        (self._away.add if away else self._away.discard)(function)
        if state == "paused":
            self._paused.add(function)
            said = reason if reason.startswith("paused") else f"paused: {reason}"  # by an operator
            self._say(near(said), "bad", function)
        elif function in self._paused:
            self._paused.discard(function)
            if state != "stopped":
                self._say("goes on", "good", function)

    # -- what the command tells ---------------------------------------------------------------------------------------

    def learn(self, functions: Sequence[FunctionSpec]) -> None:
        """See `Teller.learn`."""
        for function in functions:
            self._layout.learn(function.name)

    def notice(self, kind: str, text: str, *, tone: str = "", **fields: Any) -> None:
        """See `Teller.notice`."""
        _ = kind, fields
        self._say(text, tone)

    def take_logs(self) -> None:
        """Have the runtime's own log come through here."""
        structlog.configure(
            processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, self._logged],
            cache_logger_on_first_use=False,
        )

    def close(self) -> None:
        """See `Teller.close`."""
        self._timer.stop()
        self._write(self._counted(time.monotonic(), over=True))

    # -- writing ------------------------------------------------------------------------------------------------------

    def _say(self, text: str, tone: str, function: str | None = None) -> None:
        about = {} if function is None else {"function": function}
        self._fit()
        self._write(self._layout.notice(datetime.now().astimezone(), text, tone=tone, **about))

    def _logged(self, _logger: Any, _method: str, event: Mapping[str, Any]) -> Any:
        level, text, fields = event.get("level", "info"), event.get("event", ""), dict(event)
        for name in ("level", "event"):
            fields.pop(name, None)
        about = fields.pop("function", None)
        trace = fields.pop("exception", None)
        more = "  ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        whole = "\n".join(part for part in (f"{text}  {more}".rstrip(), trace) if part)
        self._say(whole, _TONES.get(str(level), ""), about if isinstance(about, str) else None)
        raise structlog.DropEvent

    def _counts(self, now_s: float) -> list[str]:
        """What was counted meanwhile, if it is time to tell; called before anything is admitted."""
        self._fit()
        told = self._counted(now_s)
        self._timer.start()
        return told

    def _counted(self, now_s: float, *, over: bool = False) -> list[str]:
        told = []
        for flood in (self._attempts, self._lines):
            if counts := flood.end(now_s) if over else flood.summary(now_s):
                told += self._layout.notice(datetime.now().astimezone(), folded(counts))
        return told

    def _tell_counts(self) -> None:
        self._write(self._counted(time.monotonic()))
        if self._attempts.is_counting or self._lines.is_counting:
            self._timer.start()

    def _fit(self) -> None:
        if self._is_terminal:
            with suppress(OSError):
                self._layout.width = os.get_terminal_size(self._stream.fileno()).columns or None

    def _write(self, lines: Sequence[str]) -> None:
        if not lines or self._gone:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except OSError:  # whoever read along has gone: `headrace dev | head`, or a terminal that was closed
            self._gone = True
            self._on_gone()

    def __repr__(self) -> str:
        return f"<Console: {self._attempts!r}>"


def _marked(line: Line) -> tuple[str, str]:
    """What a line is marked with, and its text."""
    if line.stream != "log":
        return ("!" if line.stream == "stderr" else "|"), line.text
    fields = "  ".join(f"{name}={value!r}" for name, value in (line.fields or {}).items())
    level = line.level or "info"
    return ("E" if level in {"error", "critical"} else "*"), f"{level}: {line.text}  {fields}".rstrip()
