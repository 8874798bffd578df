"""The same as the console, for programs: one JSON document per line on stdout, nothing folded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from headrace.cli.dev.account import account_of
from headrace.cli.output import print_json
from headrace.runtime.hooks import hookimpl
from headrace.runtime.result import Result
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.output import Line


class Documents:
    """Observes an engine and prints; implements `Teller`. `kind` says what a document is: "attempt", "output", …"""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self._gone = False

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """A document for each attempt."""
        at = datetime.now().astimezone()
        for result in results:
            if (account := account_of(function, result, at)) is not None:
                self._print({"kind": "attempt", **account.document()})

    @hookimpl
    def output(self, function: FunctionSpec, lines: Sequence[Line]) -> None:
        """A document for each line."""
        for line in lines:
            self._tell(
                "output",
                function=function.name,
                event=line.event,
                stream=line.stream,
                text=line.text,
                level=line.level,
                fields=line.fields,
            )

    @hookimpl
    def function_state(self, function: str, state: str, reason: str) -> None:
        """A document for each change."""
        self._tell("state", function=function, state=state, reason=reason)

    def learn(self, functions: Sequence[FunctionSpec]) -> None:
        """See `Teller.learn`."""

    def notice(self, kind: str, text: str, *, tone: str = "", **fields: Any) -> None:
        """See `Teller.notice`."""
        _ = tone
        self._tell(kind, text=text, **fields)

    def close(self) -> None:
        """See `Teller.close`."""

    def _tell(self, kind: str, **fields: Any) -> None:
        time = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self._print({"kind": kind, "time": time, **fields})

    def _print(self, document: dict[str, Any]) -> None:
        if self._gone:
            return
        try:
            print_json(document)
        except OSError:  # nobody reads any more
            self._gone = True
            self._on_gone()

    def __repr__(self) -> str:
        return "<Documents on stdout>"
