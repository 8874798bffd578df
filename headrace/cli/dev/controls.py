"""Controls: what the keys do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from headrace.cli.dev.emitting import Choice, choices_of, emit_sample
from headrace.cli.dev.rerun import Failures, Rerun
from headrace.cli.dev.teller import Teller
from headrace.functions.errors import HeadraceError
from headrace.sandbox.manifest import FunctionSpec

HELP = "r  rerun the event that failed last\ne  emit a sample made from a function's schema\nq  quit\n?  this"
SHORT_HELP = "keys: r rerun the last failed event, e emit a sample, q quit, ? help"


class Controls:
    """Does what a key asks for and says so. `functions` are those served now; `quit_` ends the command."""

    def __init__(
        self, teller: Teller, failures: Failures, rerun: Rerun, broker: str, quit_: Callable[[], None]
    ) -> None:
        self.functions: Sequence[FunctionSpec] = ()
        self._teller = teller
        self._failures = failures
        self._rerun = rerun
        self._broker = broker
        self._quit = quit_
        self._menu: list[Choice] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def pressed(self, key: str) -> None:
        """A key was pressed."""
        menu, self._menu = self._menu, []
        if menu and key.isdecimal() and 1 <= int(key) <= len(menu):
            self._do(self._emit(menu[int(key) - 1]))
            return
        match key.lower():
            case "r":
                self.rerun()
            case "e":
                self._offer()
            case "q":
                self._quit()
            case "?" | "h":
                self._teller.notice("help", HELP)
            case _ if menu or key.isspace():
                pass
            case _:
                self._teller.notice("help", SHORT_HELP)

    def rerun(self, *, quietly: bool = False) -> None:
        """Have the last failed event handled again. `quietly`: say nothing if there is none."""
        if self._failures.last is not None:
            self._do(self._rerun_last())
        elif not quietly:
            self._teller.notice(
                "rerun", "nothing to rerun: all that failed since dev began has succeeded, or nothing did"
            )

    def _offer(self) -> None:
        choices = choices_of(self.functions)
        if len(choices) == 1:
            self._do(self._emit(choices[0]))
        elif choices:
            self._menu = choices
            self._teller.notice(
                "menu", "emit a sample for:\n" + "\n".join(f"{n}  {c}" for n, c in enumerate(choices, 1))
            )

    async def _rerun_last(self) -> None:
        if (failed := self._failures.last) is not None:

            def tell(said: str) -> None:
                self._teller.notice("rerun", said, function=failed.function, event=failed.id)

            await self._rerun.of(failed, tell)

    async def _emit(self, choice: Choice) -> None:
        self._teller.notice("emitted", await emit_sample(choice, self._broker), function=choice.function.name)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except HeadraceError as error:
            self._teller.notice("failed", str(error), tone="bad")

    async def close(self) -> None:
        """Let go of what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Controls, {len(self._tasks)} under way{', a menu open' if self._menu else ''}>"
