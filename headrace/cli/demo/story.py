"""What the demo shows while it runs: a line for what happens to each order."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from headrace.runtime.hooks import hookimpl
from headrace.runtime.result import Result
from headrace.runtime.verdict import Again, Finish, GiveBack, SetAside
from headrace.sandbox.manifest import FunctionSpec

FEW = 30


class Story:
    """Tells each order's story; with more than a few orders, only that of the troubled ones."""

    def __init__(self, orders: int, *, quiet: bool) -> None:
        self._every_one = orders <= FEW
        self._quiet = quiet

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts ended: say so."""
        _ = function
        for result in results:
            line = self._line(result)
            if line and not self._quiet:
                click.echo(line)

    def _line(self, result: Result) -> str | None:
        order = _order_of(result)
        match result.verdict:
            case Finish():
                again = f" (attempt {result.attempt})" if result.attempt > 1 else ""
                if self._every_one or result.attempt > 1:
                    return f"  {click.style('✔', fg='green')} {order}  confirmed{again}"
                return None
            case Again(delay_ms, failure):
                return f"  {click.style('↻', fg='yellow')} {order}  {failure.message}; again in {delay_ms / 1000:.1f} s"
            case SetAside(failure):
                return f"  {click.style('✘', fg='red')} {order}  {failure.message}; dead-lettered"
            case GiveBack():
                return None


def _order_of(result: Result) -> str:
    try:
        return str(json.loads(result.record.value or b"{}")["order_id"])
    except (ValueError, KeyError, TypeError):
        return f"event {result.record.offset}"
