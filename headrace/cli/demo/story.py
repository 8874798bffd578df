"""What the demo shows while it runs: a line for what happens to each order."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from headrace.runtime.hooks import hookimpl
from headrace.runtime.result import Result
from headrace.runtime.verdict import Again, Finish, GiveBack, SetAside
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Done, Emitted, Skipped

FEW = 30


class Story:
    """Tells each order's story; with more than a few orders, only that of the troubled ones."""

    def __init__(self, orders: int, *, quiet: bool) -> None:
        self._every_one = orders <= FEW
        self._quiet = quiet

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts ended: say so."""
        for result in results:
            line = self._line(function.name, result)
            if line and not self._quiet:
                self._tell(line)

    def _tell(self, line: str) -> None:
        try:
            click.echo(line)
        except BrokenPipeError:  # whoever read along has gone; what runs comes to its end all the same
            self._quiet = True

    def _line(self, function: str, result: Result) -> str | None:
        order = _order_of(result)
        match result.verdict:
            case Finish():
                return _refund(order, result) if function != "confirm_order" else self._confirmed(order, result)
            case Again(delay_ms, failure):
                return f"  {click.style('↻', fg='yellow')} {order}  {failure.message}; again in {delay_ms / 1000:.1f} s"
            case SetAside(failure):
                return f"  {click.style('✘', fg='red')} {order}  {failure.message}; dead-lettered"
            case GiveBack():
                return None

    def _confirmed(self, order: str, result: Result) -> str | None:
        is_worth_a_line = self._every_one or result.attempt > 1
        if isinstance(result.outcome, Skipped) or not is_worth_a_line:
            return None
        again = f" (attempt {result.attempt})" if result.attempt > 1 else ""
        return f"  {click.style('✔', fg='green')} {order}  confirmed{again}"


def _refund(order: str, result: Result) -> str | None:
    """Of the other functions only what leads to a refund is told: the stock is in the summary."""
    match result.outcome:
        case Done([Emitted(topic="refunds", value=bytes(value))]):
            amount = json.loads(value)["amount"]
            return f"  {click.style('↩', fg='cyan')} {order}  shipped and cancelled: {amount:.2f} refunded"
        case _:
            return None


def _order_of(result: Result) -> str:
    try:
        return str(json.loads(result.record.value or b"{}")["order_id"])
    except (ValueError, KeyError, TypeError):
        return f"event {result.record.offset}"
