"""Setup: what a handler's `setup=` yields, opened before its worker is ready and closed at its end.

A plain generator is run where it stands. An async one has a task of its own for all its life: what it opens and closes
(a task group, a scope of timeouts) must meet the same task at both ends, and that task's being cancelled must not be an
event's. The loop it lives on is that of the async handlers; for a sync handler it turns while the setup is opened and
while it is closed, and stands still in between.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from headrace.functions.declare import Declaration
from headrace.sandbox import capture
from headrace.sandbox.failure import failure_of, frames_of, message_of, type_name
from headrace.sandbox.loader import Unserviceable
from headrace.sandbox.usercode import UserCode
from headrace.sandbox.wire import Broken

_NEVER = "it ended without a yield: it yields once what the handler is to have as ctx.state"
_TWICE = "it yielded a second time: what is behind that was not run"


class Setup:
    """The setup of one function in one worker; without a `setup=` its state is None."""

    def __init__(self, declaration: Declaration, user_code: UserCode) -> None:
        self._declaration = declaration
        self._make: Callable[[], Any] | None = declaration.setup
        self._user_code = user_code
        self._generator: Generator[Any, None, None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[None]

    @property
    def needs_loop(self) -> bool:
        """Whether `open` and `close` suspend."""
        return self._make is not None and inspect.isasyncgenfunction(self._make)

    async def open(self) -> Any:
        """The state. Raises `Unserviceable`, with what the user is to mend. Suspends only if it `needs_loop`."""
        if self._make is None:
            return None
        if self.needs_loop:
            return await self._open_on_loop(self._make())
        generator: Generator[Any, None, None] = self._make()
        try:
            state = next(generator)
        except StopIteration:
            raise self._unserviceable(RuntimeError(_NEVER)) from None
        except BaseException as error:  # SystemExit too: it is the setup's failure, and is to be told as that
            raise self._unserviceable(error) from error
        self._generator = generator
        return state

    async def close(self) -> None:
        """Run what is behind the `yield`. What goes wrong there is logged: nothing depends on it any more."""
        if self._task is not None:
            self._closing.set_result(None)
            await asyncio.wait([self._task])
        if self._generator is not None:
            try:
                next(self._generator)
                self._generator.close()
                self._complain(RuntimeError(_TWICE))
            except StopIteration:
                pass
            except BaseException as error:  # noqa: BLE001  (a worker that ends says why, and ends)
                self._complain(error)

    async def _open_on_loop(self, generator: AsyncGenerator[Any, None]) -> Any:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        self._closing = loop.create_future()
        task = loop.create_task(self._hold(generator, opened), name="setup")
        await asyncio.wait([opened])
        state = opened.result()
        self._task = task
        return state

    async def _hold(self, generator: AsyncGenerator[Any, None], opened: asyncio.Future[Any]) -> None:
        """The life of an async generator, in one task."""
        try:
            state = await anext(generator)
        except StopAsyncIteration:
            opened.set_exception(self._unserviceable(RuntimeError(_NEVER)))
            return
        except BaseException as error:  # noqa: BLE001  (passed on)
            opened.set_exception(self._unserviceable(error))
            return
        opened.set_result(state)
        await self._until_closed()
        try:
            await anext(generator)
            await generator.aclose()
            self._complain(RuntimeError(_TWICE))
        except StopAsyncIteration:
            pass
        except BaseException as error:  # noqa: BLE001  (a worker that ends says why, and ends)
            self._complain(error)

    async def _until_closed(self) -> None:
        while not self._closing.done():
            try:
                await asyncio.shield(self._closing)
            except asyncio.CancelledError:  # by a handler, with all tasks it found; or by what the setup started
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()

    def _unserviceable(self, error: BaseException) -> Unserviceable:
        message = self._message(error, "failed")
        frames = frames_of(error, self._user_code)
        if len(frames) > 1:
            message += "\n" + "".join(frames.format()).rstrip("\n")
        return Unserviceable(Broken("setup", failure_of(error, self._user_code, message=message)))

    def _complain(self, error: BaseException) -> None:
        failure = failure_of(error, self._user_code)
        capture.log_error(self._message(error, "failed when it was closed"), error=failure.type, stack=failure.stack)

    def _message(self, error: BaseException, what: str) -> str:
        frames = frames_of(error, self._user_code)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else self._declaration.place
        return f"{place}: the setup of {self._declaration.name} {what}: {type_name(error)}: {message_of(error)}"

    def __repr__(self) -> str:
        state = "open" if self._generator is not None or self._task is not None else "not open"
        return f"<Setup of {self._declaration.name}, {'none' if self._make is None else state}>"
