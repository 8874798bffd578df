"""Which dead letters of a function are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from headrace.cli.output import say

if TYPE_CHECKING:
    from headrace.runtime.letters import DeadLetter

F = TypeVar("F", bound=Callable[..., Any])


class Selection(NamedTuple):
    """Those with this fingerprint, of this event, or all."""

    fingerprint: str | None
    event: str | None

    @classmethod
    def of(cls, *, fingerprint: str | None, event: str | None, every: bool) -> Selection:
        """What the options say. One of them has to be given: nothing is selected by mistake."""
        if not (fingerprint or event or every):
            raise click.UsageError("say which: --fingerprint F, --event ID or --all")
        return cls(fingerprint, event)

    def has(self, letter: DeadLetter) -> bool:
        """Whether a letter is selected."""
        if self.event is not None and letter.event_id != self.event:
            return False
        return self.fingerprint is None or letter.fingerprint == self.fingerprint


def selection_options(function: F) -> F:
    """--fingerprint, --event, --all."""
    for option in (
        click.option("--all", "every", is_flag=True, help="All open dead letters of the function."),
        click.option("--event", metavar="ID", help="Those of one event."),
        click.option("--fingerprint", metavar="F", help="Those that failed in the same way, as `dlq list` shows."),
    ):
        function = option(function)
    return function


def nothing() -> int:
    """Say that nothing was selected; the exit code of that."""
    say("headrace: no open dead letter matches; `headrace dlq list` shows what there is")
    return 1
