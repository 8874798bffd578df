"""The condemned: events that are to be set aside, but only when their turn comes.

They stand in the ledger, due never, with as many failures as there are attempts, so that an owner after this one knows:
those whose last attempt crashed while events before them in their lane had finished unreported and have to run again,
and those under which the runtime itself died each time.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace.runtime.progress import Progress
from headrace.runtime.verdict import SetAside
from headrace.sandbox.outcome import Failure

_NEVER_MS = 0  # a charge of any other kind is due later
_RUNTIME_DIED = Failure("runtime-died", "the runtime died each time while this event was running", "", "runtime-died")


class Condemned:
    """Those of one partition. `failures` tells how often the event at an offset has failed in all its lives.

    `attempts` is how often it may.
    """

    def __init__(self, progress: Progress, attempts: int, failures: Callable[[int], int]) -> None:
        self._progress = progress
        self.attempts = attempts
        self._failures = failures
        self._verdicts: dict[int, SetAside] = {}

    def charge(self, offset: int) -> None:
        """Charge an event with the death of its owner: it runs alone from now on, until it is condemned."""
        self._progress.charge(offset, _NEVER_MS, alone=True)

    def add(self, offset: int, verdict: SetAside) -> None:
        """Condemn an event; `verdict` says why."""
        while not self.has(offset):  # its age may have ended it before its attempts did
            self.charge(offset)
        self._verdicts[offset] = verdict

    def has(self, offset: int) -> bool:
        """Whether an event is condemned."""
        charge = self._progress.ledger.get(offset)
        return charge is not None and charge.due_ms == _NEVER_MS and self._failures(offset) >= self.attempts

    def bury(self, offset: int) -> SetAside:
        """Why a condemned event is set aside. Its turn has come."""
        return self._verdicts.pop(offset, None) or SetAside(_RUNTIME_DIED, self._failures(offset))

    def __repr__(self) -> str:
        return f"<Condemned: {len(self._verdicts)} by this owner>"
