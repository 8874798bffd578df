"""A debugger in the worker: pdb, on a terminal that the parent passed on.

The handler stops at its first line, `breakpoint()` works wherever it stands, and what a handler or a setup lets pass is
looked at where it was raised. Frames of headrace and of the event loop are neither stepped into nor listed. What is
printed is shown as it comes, and captured as ever.
"""

from __future__ import annotations

import bdb
import functools
import inspect
import io
import os
import pdb  # noqa: T100  (this is where it belongs)
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any

from headrace.functions.outcome import Reject, RetryAfter
from headrace.functions.signature import Handler
from headrace.sandbox.capture import Capture, TaggedStream, move_records
from headrace.sandbox.failure import message_of, type_name

# `__main__` is the zygote, from which the worker was forked.
_PASSED_OVER = ("headrace.*", "headrace", "__main__", "runpy", "bdb", "pdb", "asyncio.*", "selectors", "contextlib")
_INTENDED = (Reject, RetryAfter)


class DebuggerQuit(BaseException):
    """The user has quit the debugger. Not an `Exception`, so that a broad `except` of the handler does not go on."""

    def __init__(self) -> None:
        super().__init__("you quit the debugger")


def attach(terminal: int) -> Capture:
    """Make the terminal this process's stdin and stdout, for the debugger; what is printed is captured elsewhere."""
    captured = os.dup(1)
    for place in (0, 1):
        os.dup2(terminal, place)
    os.close(terminal)
    move_records(captured)
    return Capture([_Echo(captured, "stdout"), _Echo(2, "stderr")])


class _Echo(TaggedStream):
    """Output that is captured, and shown on the terminal as it comes."""

    errors = "replace"  # `input` edits lines only over streams that say how they encode

    def __init__(self, fd: int, name: str) -> None:
        raw = sys.__stdout__ if name == "stdout" else sys.__stderr__
        assert isinstance(raw, io.TextIOWrapper)
        super().__init__(fd, name, raw)
        self._number = 1 if name == "stdout" else 2

    def write(self, text: str) -> int:
        """Capture it and show it."""
        written = super().write(text)
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(1, data) :]
        return written

    def fileno(self) -> int:
        """That of the terminal for stdout."""
        return self._number


class Debugger(pdb.Pdb):
    """Debugs the handler and the setup of one function."""

    def __init__(self) -> None:
        terminal = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        super().__init__(stdout=terminal, skip=_PASSED_OVER)
        self.reset()
        self.use_rawinput = True  # lines are edited where readline is there: stdin is the terminal, too

    def install(self) -> None:
        """Be what `breakpoint()` and Ctrl-C stop in."""
        sys.breakpointhook = self._breakpoint
        signal.signal(signal.SIGINT, self.sigint_handler)  # type: ignore[arg-type]

    def debugged(self, handler: Handler) -> Handler:
        """The same handler, to be run within this debugger."""
        declared = handler.declaration
        call = self._async_call if handler.is_async else self._call
        wrapped = functools.wraps(declared.handler)(functools.partial(call, declared.handler))
        setup = None if declared.setup is None else self._looked_after(declared.setup)
        return replace(handler, declaration=replace(declared, handler=wrapped, setup=setup))

    # -- running ------------------------------------------------------------------------------------------------------

    def _call(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self.runcall(handler, *arguments)
        except BaseException as error:
            self._look_at(error)
            raise

    async def _async_call(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        try:
            self.reset()
            sys.settrace(self.trace_dispatch)  # the next frame that begins is the handler's
            return await handler(*arguments)
        except BaseException as error:
            self._look_at(error)
            raise
        finally:
            sys.settrace(None)

    def _looked_after(self, setup: Callable[[], Any]) -> Callable[[], Any]:
        """The same setup; what it raises is looked at."""

        @functools.wraps(setup)
        def plain() -> Iterator[Any]:
            try:
                yield from setup()
            except BaseException as error:
                self._look_at(error)
                raise

        @functools.wraps(setup)
        async def on_loop() -> AsyncIterator[Any]:
            try:
                async for state in setup():
                    yield state
            except BaseException as error:
                self._look_at(error)
                raise

        return on_loop if inspect.isasyncgenfunction(setup) else plain

    def _look_at(self, error: BaseException) -> None:
        """Stop where an error was raised, unless it is no accident."""
        sys.settrace(None)
        if isinstance(error, bdb.BdbQuit):  # of a debugger that the handler's own code has made
            raise DebuggerQuit from None
        if isinstance(error, _INTENDED) or not isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            return
        trace: TracebackType | None = error.__traceback__
        while trace is not None and self._is_passed_over(trace.tb_frame):
            trace = trace.tb_next
        if trace is None:
            return
        self.message(f"{type_name(error)}: {message_of(error)}\nwhere it was raised (q ends this):")
        self.reset()
        self.interaction(None, trace)

    # -- pdb's --------------------------------------------------------------------------------------------------------

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        """See `bdb`; quitting is nothing that a handler can catch by accident."""
        try:
            return super().trace_dispatch(frame, event, arg)
        except bdb.BdbQuit:
            raise DebuggerQuit from None

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """See `bdb`; without the frames that lead to the user's code."""
        stack, current = super().get_stack(f, t)
        lead = next((n for n, (frame, _) in enumerate(stack) if not self._is_passed_over(frame)), 0)
        lead = min(lead, current)
        return stack[lead:], current - lead

    def _breakpoint(self, *_: Any, **__: Any) -> None:
        self.set_trace(sys._getframe().f_back)

    def _is_passed_over(self, frame: FrameType) -> bool:
        return bool(self.is_skipped_module(frame.f_globals.get("__name__", "")))

    def __repr__(self) -> str:
        return f"<Debugger, {'quit' if self.quitting else 'ready'}>"
