"""Serving until told to stop: what the commands that run functions share."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from headrace.runtime.engine import Engine
    from headrace.runtime.ports import Store
    from headrace.runtime.settings import Settings

_SHORTEST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0

T = TypeVar("T")


def check_app(settings: Settings) -> None:
    """Raise `SettingsError` where the broker is shared with others and the app has no name of its own."""
    from headrace.functions.errors import SettingsError  # noqa: PLC0415
    from headrace.triggers.url import is_embedded  # noqa: PLC0415

    if settings.app is None and not is_embedded(settings.broker):
        raise SettingsError(
            f"broker {settings.broker!r} is shared with others, so the app needs a name of its own: it is the first "
            'part of consumer groups and topics. Give --app NAME, HEADRACE_APP, or app = "NAME" in headrace.toml'
        )


async def opened(
    stack: AsyncExitStack, stops: Stops, settings: Settings, folder: Path, engine_on: Callable[[Store], Engine]
) -> Engine | None:
    """An engine that serves, on a broker that `stack` closes. Waits for a broker elsewhere that cannot be reached.

    None if a signal came first.
    """
    import structlog  # noqa: PLC0415

    from headrace.functions.errors import BrokerUnavailable  # noqa: PLC0415
    from headrace.triggers.url import is_embedded  # noqa: PLC0415

    reason, pause_s = "", _SHORTEST_PAUSE_S
    while not stops.stopped:
        try:
            return await _open(stack, stops, settings, folder, engine_on)
        except BrokerUnavailable as error:
            if is_embedded(settings.broker):
                raise
            if str(error) != reason:
                reason = str(error)
                structlog.get_logger("headrace").warning("waiting for the broker", reason=reason)
        await stops.first_or(asyncio.sleep(pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return None


async def _open(
    stack: AsyncExitStack, stops: Stops, settings: Settings, folder: Path, engine_on: Callable[[Store], Engine]
) -> Engine | None:
    from headrace.compose import open_store  # noqa: PLC0415

    async with AsyncExitStack() as attempt:
        opening = open_store(settings, folder)
        if (store := await stops.unless(attempt.enter_async_context(opening))) is None:
            return None
        engine = engine_on(store)
        try:
            await stops.unless(engine.open())
        except BaseException:
            await engine.close(0.0)
            raise
        if stops.stopped:
            await engine.close(0.0)
            return None
        await stack.enter_async_context(attempt.pop_all())
        return engine


class Stops:
    """SIGTERM and SIGINT: the first one drains, the second one ends now."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def stop(self) -> None:
        """As a signal does."""
        self._on_signal()

    @property
    def stopped(self) -> bool:
        """Whether a signal has come."""
        return self._first.is_set()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` gives; None if the first signal comes before, and `work` is cancelled then."""
        task = asyncio.ensure_future(work)
        signalled = asyncio.ensure_future(self._first.wait())
        try:
            await asyncio.wait([task, signalled], return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            signalled.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def first_or(self, work: Coroutine[Any, Any, None] | None) -> None:
        """Wait for the first signal, or for `work` to end."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._first.wait())]
        if work is not None:
            tasks.append(asyncio.create_task(work))
        await _any(tasks)

    async def second_or(self, engine: Engine, drain_s: float) -> None:
        """Close the engine within its budget; a second signal cuts that short."""
        closing = asyncio.ensure_future(engine.close(drain_s))
        second = asyncio.ensure_future(self._second.wait())
        await asyncio.wait([closing, second], return_when=asyncio.FIRST_COMPLETED)
        second.cancel()
        if not closing.done():
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await engine.close(0)
        else:
            closing.result()

    def _on_signal(self) -> None:
        import structlog  # noqa: PLC0415

        log = structlog.get_logger("headrace")
        if self._first.is_set():
            log.info("ending now; what runs goes back uncharged")
            self._second.set()
        else:
            log.info("draining: running events may finish; a second signal ends now")
            self._first.set()


async def _any(tasks: list[asyncio.Task[Any]]) -> None:
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
