"""The bulletin: what a runtime does, in a file beside its log, for `headrace status` and who else wants to know.

Written when something changed, at most every half second, and at least every few seconds while the runtime lives. That
a runtime lives is not told by the file but by the group it serves (`ports.Groups`): it may have been killed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from headrace.runtime.ports import Clock
from headrace.runtime.subscription import Subscription

_LOOK_S = 0.5
_BEAT_MS = 3_000

log = structlog.get_logger("headrace")


class FunctionReport(msgspec.Struct, frozen=True):
    """How a function stands. Of events: those held, in workers, and waiting for another attempt.

    `since_ms`: in this state since then (milliseconds since 1970).
    """

    function: str
    state: str
    reason: str
    since_ms: int
    held: int
    in_flight: int
    waiting: int
    workers: int


class Report(msgspec.Struct, frozen=True):
    """What the runtime `pid` on `host` said at `at_ms` (milliseconds since 1970)."""

    pid: int
    host: str
    at_ms: int
    functions: list[FunctionReport]

    @property
    def runtime(self) -> str:
        """Who said it, in the words of `ports.Groups.served` on the embedded log."""
        return f"process {self.pid} on {self.host}"


class Bulletin:
    """Keeps a file in `folder` up to date with `subscriptions` from `open` to `close`, which takes it away."""

    def __init__(self, folder: Path, app: str, subscriptions: Sequence[Subscription], clock: Clock) -> None:
        self._path = folder / f"{app}.{os.getpid()}.status"
        self._app = app
        self._subscriptions = subscriptions
        self._clock = clock
        self._states: dict[str, tuple[str, str, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_told = False

    def open(self) -> None:
        """Begin. What processes left behind that are no more is swept away."""
        for path in _paths(self._path.parent, self._app):
            if not Path(f"/proc/{_pid_in(path)}").exists():
                path.unlink(missing_ok=True)
        self._task = asyncio.create_task(self._keep(), name=f"bulletin {self._path.name}")

    async def close(self) -> None:
        """End. The file goes: nobody is there to be asked any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _keep(self) -> None:
        said: list[FunctionReport] = []
        said_ms = 0
        while True:
            now_ms = self._clock.now_ms()
            functions = [self._of(one, now_ms) for one in self._subscriptions]
            if functions != said or now_ms - said_ms >= _BEAT_MS:
                said, said_ms = functions, now_ms
                self._write(Report(os.getpid(), socket.gethostname(), now_ms, functions))
            await asyncio.sleep(_LOOK_S)

    def _of(self, subscription: Subscription, now_ms: int) -> FunctionReport:
        name, status = subscription.spec.name, subscription.status
        state, reason, since_ms = self._states.get(name, ("", "", 0))
        if (state, reason) != (status.state.value, status.reason):
            since_ms = now_ms if state != status.state.value else since_ms
            self._states[name] = (status.state.value, status.reason, since_ms)
        load = subscription.load
        return FunctionReport(name, status.state.value, status.reason, since_ms, *load)

    def _write(self, report: Report) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            draft.write_bytes(msgspec.json.encode(report))
            draft.replace(self._path)  # whoever reads sees all of it
        except OSError as error:
            if not self._is_told:
                log.warning("the state cannot be written down, `headrace status` will not know it", error=str(error))
            self._is_told = True

    def __repr__(self) -> str:
        return f"<Bulletin of {len(self._subscriptions)} functions in {self._path}>"


def read_reports(folder: Path, app: str) -> list[Report]:
    """What the runtimes of the app last said; what cannot be read is left out."""
    found = []
    for path in _paths(folder, app):
        with suppress(OSError, msgspec.DecodeError):
            found.append(msgspec.json.decode(path.read_bytes(), type=Report))
    return found


def _paths(folder: Path, app: str) -> list[Path]:
    return [path for path in sorted(folder.glob("*.status")) if path.name.startswith(f"{app}.{_pid_in(path)}.")]


def _pid_in(path: Path) -> str:
    return path.name.removesuffix(".status").rpartition(".")[2]
