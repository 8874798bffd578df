"""The log of `headrace run`: structured, on stderr, readable for a person or JSON for a machine."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from headrace.functions.cloudevents import Malformed, read
from headrace.runtime.hooks import hookimpl
from headrace.runtime.result import Result
from headrace.runtime.state import BROKER_AWAY
from headrace.runtime.verdict import Again, SetAside
from headrace.sandbox.headers import by_name
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Postponed, Skipped

if TYPE_CHECKING:
    from headrace.sandbox.process import Line

_MISFIT = 100
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(*, as_json: bool) -> None:
    """Send the runtime's log to stderr."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24, sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S.%f", utc=as_json),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )


class Journal:
    """Logs what a person wants to know of a running app: failures, dead letters, skips, states, handlers' output."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("headrace")
        self._skipped: Counter[tuple[str, str]] = Counter()
        self._handled: Counter[str] = Counter()
        self._away: set[str] = set()  # functions whose broker is away

    @hookimpl
    def function_state(self, function: str, state: str, reason: str) -> None:
        """Pauses are loud, and so is a broker that is away; coming and going of work is not worth a line."""
        away = reason.startswith(BROKER_AWAY)
        if away and function not in self._away:
            self._log.warning("waiting for the broker", function=function, reason=reason.removeprefix(BROKER_AWAY))
        elif not away and function in self._away:
            self._log.info("the broker is back", function=function)
        (self._away.add if away else self._away.discard)(function)
        if state == "paused":
            self._log.error("a function is paused", function=function, reason=reason)

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """One line for each attempt that did not simply succeed."""
        for result in results:
            match result.verdict:
                case Again() as again:
                    self._tried(function, result, again)
                case SetAside(failure):
                    what = "discarded" if function.discard is not None else "dead-lettered"
                    about = _about(function, result)
                    self._log.error(what, **about, error=f"{failure.type}: {failure.message}")
                case _:
                    pass
            if isinstance(result.outcome, Skipped):
                self._skip(function, result.outcome)
            else:
                self._handled[function.name] += 1

    @hookimpl
    def output(self, function: FunctionSpec, lines: Sequence[Line]) -> None:
        """What handlers print and log."""
        for line in lines:
            level = _LEVELS.get(line.level or "info", logging.INFO)
            about = {"function": function.name, **(line.fields or {}), "event_id": line.event}
            self._log.log(level, line.text, **{name: value for name, value in about.items() if value is not None})

    def _tried(self, function: FunctionSpec, result: Result, again: Again) -> None:
        about = _about(function, result) | {"again_in_s": again.delay_ms / 1000}
        if isinstance(result.outcome, Postponed):
            self._log.info("postponed", **about)
        else:
            self._log.warning("failed", **about, error=f"{again.failure.type}: {again.failure.message}")

    def _skip(self, function: FunctionSpec, skipped: Skipped) -> None:
        if skipped.reason != "type":
            return
        name = skipped.type or ""
        self._skipped[function.name, name] += 1
        if self._skipped[function.name, name] == 1:
            takes = ", ".join(function.types)
            self._log.warning("skipping events of another type", function=function.name, type=name, takes=takes)
        total = sum(count for (of, _), count in self._skipped.items() if of == function.name)
        if total == _MISFIT and not self._handled[function.name]:
            self._log.error(
                "the first 100 events were all of other types: is this the right topic, or the right type?",
                function=function.name,
                takes=", ".join(function.types),
                topics=", ".join(function.topics),
            )


def _about(function: FunctionSpec, result: Result) -> dict[str, Any]:
    topic, partition = result.partition
    place = f"{topic}/{partition}/{result.record.offset}"
    return {"function": function.name, "attempt": result.attempt, "at": place, "event_id": event_id(result)}


def event_id(result: Result) -> str:
    """The id of the event a result is about."""
    place = (*result.partition, result.record.offset)
    try:
        return read(by_name(result.record.headers), None, place, "").id
    except (Malformed, ValueError):
        return "/".join(map(str, place))
