"""Crash points: a scenario is run again and again, with the runtime dying at another write to the log each time.

Whatever the runtime had in memory is gone then; another one begins on the same log, at the same virtual time. In the
end the topics must hold what they hold without a crash. What handlers do beside the log may happen again, and shows:
a handler that does not do the same the second time leaves something else in the topics.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import Unpack

from headrace.testing.app import AppOptions, TestApp
from headrace.testing.comparison import Contents, contents_of, differences, ordered_topics
from headrace.testing.subject import Function, Subject, subject_at, subject_of
from headrace.testing.writes import CrashPoint

R = TypeVar("R")


@dataclass(frozen=True)
class CrashReport:
    """What was tried: the writes of the scenario, each in words, and how many crashes it survived."""

    writes: Sequence[str]
    crashes: int


def check_crash_points(
    scenario: Callable[[TestApp], Any],
    *functions: Function,
    points: Iterable[int] | None = None,
    **options: Unpack[AppOptions],
) -> CrashReport:
    """Run `scenario(app)` twice without a crash, then with one right before and right after each write to the log.

    The app has these functions; without any, those of the default target in the current folder. After the scenario it
    runs until it is idle, and its topics are compared with those of the first run (see `headrace.testing.comparison`).
    Raises `AssertionError` that says at which write, in which topic and what is missing, doubled or changed; what the
    scenario itself raises goes through, with a note of the write. `points` are the numbers of the writes to crash at,
    from 1; all, if it is not given. An `async def` scenario is run with `asyncio.run`, each time anew.
    """
    subject = _subject(functions)

    def play(crash: CrashPoint | None) -> _Run:
        with _trial(subject, options, crash) as run:
            called = scenario(run.app)
            if inspect.iscoroutine(called):
                asyncio.run(_awaited(called, run))
            else:
                run.app.run_until_idle()
                run.look()
                run.app.close()
        return run

    trials = _trials(points)
    crash = next(trials)
    while True:
        try:
            crash = trials.send(play(crash))
        except StopIteration as end:
            report: CrashReport = end.value
            return report


def crash_points(
    *functions: Function, points: Iterable[int] | None = None, **options: Unpack[AppOptions]
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make a test, plain or async, a scenario of `check_crash_points`: it is called with an app once for each crash.

        @crash_points(confirm_order)
        def test_orders_survive_crashes(app: TestApp) -> None:
            app.emit("orders", OrderPlaced(order_id="1"), key="1")
            app.run_until_idle()
            assert len(app.topic("emails")) == 1

    Its first parameter (after `self`) is the app; all others are fixtures, which are made once for all runs.
    """

    def decorate(test: Callable[..., R]) -> Callable[..., R]:
        signature = inspect.signature(test)
        first = next(name for name in signature.parameters if name != "self")

        def call(arguments: tuple[Any, ...], named: dict[str, Any]) -> Callable[[TestApp], Any]:
            return lambda app: test(*arguments, **named, **{first: app})

        @functools.wraps(test)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            check_crash_points(call(arguments, named), *functions, points=points, **options)

        @functools.wraps(test)
        async def awaiting(*arguments: Any, **named: Any) -> Any:
            await _check(call(arguments, named), functions, points, options)

        made: Any = awaiting if inspect.iscoroutinefunction(test) else wrapper
        others = [parameter for name, parameter in signature.parameters.items() if name != first]
        made.__signature__ = signature.replace(parameters=others)
        result: Callable[..., R] = made
        return result

    return decorate


async def _check(
    scenario: Callable[[TestApp], Coroutine[Any, Any, Any]],
    functions: Sequence[Function],
    points: Iterable[int] | None,
    options: AppOptions,
) -> None:
    """`check_crash_points` on the event loop that runs."""
    subject, trials = _subject(functions), _trials(points)
    crash = next(trials)
    while True:
        with _trial(subject, options, crash) as run:
            await _awaited(scenario(run.app), run)
        try:
            crash = trials.send(run)
        except StopIteration:
            return


@dataclass
class _Run:
    """One run of the scenario, and what it left."""

    app: TestApp
    crash: CrashPoint | None
    writes: Sequence[str] = ()
    contents: Contents = field(default_factory=dict)
    ordered: set[str] = field(default_factory=set)

    def look(self) -> None:
        """See what is there now."""
        stage = self.app._stage
        self.writes = list(stage.writes.made)
        self.contents = contents_of(stage.arrivals)
        self.ordered = ordered_topics(stage.subject, set(self.app._emitted))


@contextmanager
def _trial(subject: Subject, options: AppOptions, crash: CrashPoint | None) -> Iterator[_Run]:
    run = _Run(TestApp._of(subject, options, crash), crash)
    try:
        yield run
    except BaseException as error:
        if crash is not None:
            error.add_note(f"in a run whose runtime died {crash}{_words(run)}")
        raise
    finally:
        run.app._drop()


async def _awaited(called: Coroutine[Any, Any, Any], run: _Run) -> None:
    await called
    await run.app.arun_until_idle()
    run.look()
    await run.app.aclose()


def _trials(points: Iterable[int] | None) -> Generator[CrashPoint | None, _Run, CrashReport]:
    """Which crash is to be next, each time the run with the one before is in. Raises `AssertionError` for the first
    that changes anything."""
    expected = yield None
    again = yield None
    ordered, writes = expected.ordered, expected.writes
    if found := differences(expected.contents, again.contents, ordered):
        raise AssertionError(
            "two runs of the scenario without a crash leave different events; it, or a handler, depends on something "
            f"else than the events (chance, the clock, what an earlier run left):\n{_listed(found)}"
        )
    contents = expected.contents
    del expected, again  # the story to tell is that of the run that went wrong
    numbers = range(1, len(writes) + 1) if points is None else list(points)
    if wrong := [number for number in numbers if not 1 <= number <= len(writes)]:
        raise ValueError(f"points: there is no write {wrong[0]}; the scenario makes {len(writes)}")
    for number in numbers:
        for crash in (CrashPoint("before", number), CrashPoint("after", number)):
            run = yield crash
            if run.app._stage.lives == 1:
                raise AssertionError(
                    f"the scenario made {len(run.writes)} writes this time, and {len(writes)} before: it depends on "
                    "something else than its events"
                )
            if found := differences(contents, run.contents, ordered):
                raise AssertionError(
                    f"a crash {crash} of {len(writes)}{_words(run)} changes what is in the topics:\n{_listed(found)}\n"
                    f"to have this crash alone: points=[{number}]"
                )
            del run
    return CrashReport(writes, 2 * len(numbers))


def _words(run: _Run) -> str:
    made = run.app._stage.writes.made
    number = run.crash.write if run.crash else 0
    return f" ({made[number - 1]})" if 0 < number <= len(made) else ""


def _listed(found: Sequence[str]) -> str:
    return "\n".join(f"  {one}" for one in found)


def _subject(functions: Sequence[Function]) -> Subject:
    return subject_of(functions, "test") if functions else subject_at(None, Path.cwd(), None)
