"""The app under test: the runtime of production on a log in memory and in virtual time, handlers in this process."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict

from typing_extensions import Unpack

from headrace.compose import check_environment
from headrace.delay import due_ms
from headrace.functions import cloudevents
from headrace.functions.codec import HeadersIn, encode, encode_headers, encode_key
from headrace.producer import Position
from headrace.runtime.plan import dead_letter_topic
from headrace.runtime.ports import Append
from headrace.sandbox.headers import pack
from headrace.testing import register
from headrace.testing.driver import Driver
from headrace.testing.stage import Stage
from headrace.testing.story import told
from headrace.testing.subject import Function, Subject, subject_at, subject_of
from headrace.testing.views import Attempt, DeadLetter, StoredEvent
from headrace.testing.writes import CrashPoint

START = datetime(2026, 1, 1, tzinfo=UTC)


class AppOptions(TypedDict, total=False):
    """How an app is made.

    `partitions` is what each topic has of which the settings say nothing (4, as on the embedded log). `seed` is that of
    all chance: the jitter of retries, and which partition is served first. `start` is the virtual time at which it
    begins (2026-01-01, UTC). `timeouts` False lets handlers run for as long as they want, for debugging. `transactions`
    False has a log like Kafka without effectively-once, where a crash may leave an event twice, with the same id.
    """

    partitions: int
    seed: int
    start: datetime
    timeouts: bool
    transactions: bool


class TestApp:
    """Functions, run as `headrace run` would, but in this process, on a log in memory, and in virtual time.

    Everything between the log and the handlers is the runtime of production: lanes, retries, batches, rate, dead
    letters, progress, settlements. Its clock stands still while a handler runs; when nothing runs and something is due
    later, time jumps there. Handlers run one event (or batch) after another, whatever the function's `workers` and
    `concurrency`, without a sandbox, with the environment of the test. Equal scenarios give equal ids, in equal order.

    `functions` are handlers and modules that hold some. Raises `DeclarationError` as `headrace run` does, and
    `SettingsError` for a secret that is not in the environment when it first runs.

        app = TestApp(confirm_order)
        app.emit("orders", OrderPlaced(order_id="1"), key="1")
        app.run_until_idle()
        assert [mail.model(EmailSent).order_id for mail in app.topic("emails")] == ["1"]

    Where an event loop runs, `await app.arun_until_idle()` has async handlers run on that loop. As a context manager,
    plain or `async with`, it ends in order and closes what `setup=` opened; without, nothing is closed.
    """

    __test__ = False  # pytest shall not look for tests in it

    def __init__(self, *functions: Function, app: str = "test", **options: Unpack[AppOptions]) -> None:
        self._set(subject_of(functions, app), options)

    @classmethod
    def from_target(
        cls,
        target: str | None = None,
        *,
        folder: Path | None = None,
        app: str | None = None,
        **options: Unpack[AppOptions],
    ) -> Self:
        """All functions of a target, as `headrace run` finds them in `folder` (the current one) with its settings.

        Its modules are imported into this process, under the names that a worker gives them. Raises `TargetError`,
        `DeclarationError` or `SettingsError`.
        """
        return cls._of(subject_at(target, folder or Path.cwd(), app), options)

    @classmethod
    def _of(cls, subject: Subject, options: AppOptions, crash: CrashPoint | None = None) -> Self:
        made = cls.__new__(cls)
        made._set(subject, options, crash)
        return made

    def _set(self, subject: Subject, options: AppOptions, crash: CrashPoint | None = None) -> None:
        self._driver = Driver()
        self._emitted: dict[str, int] = {}
        self._stage = Stage(
            subject,
            partitions=options.get("partitions", 4),
            seed=options.get("seed", 0),
            start_ms=round(options.get("start", START).timestamp() * 1000),
            timeouts=options.get("timeouts", True),
            transactions=options.get("transactions", True),
            crash=crash,
        )
        self._finalizer = weakref.finalize(self, _drop, self._stage, self._driver)
        register.enter(self)

    # -- what goes in -----------------------------------------------------------------------------------------------

    def emit(
        self,
        topic: str,
        data: object,
        *,
        key: str | bytes | None = None,
        type: str | None = None,  # noqa: A002  (the attribute's name)
        headers: HeadersIn | None = None,
        id: str | None = None,  # noqa: A002
        delay: float | None = None,
        not_before: datetime | None = None,
    ) -> Position:
        """Append one event, as `headrace.Log.emit` does; its id is `<topic>-<n>` unless given, n counting from 1.

        It is handled when the app runs. Raises `EmitRefused` for what cannot be written.
        """
        stage, encoded = self._stage, encode(data)
        nth = self._emitted[topic] = self._emitted.get(topic, 0) + 1
        now_ms, id_ = stage.now_ms, id or f"{topic}-{nth}"
        own = cloudevents.write(
            id=id_,
            source=stage.disk.cluster,
            type=type or encoded.type,
            content_type=encoded.content_type,
            time=self.now,
        )
        due = due_ms(delay, not_before, now_ms)
        block = pack(own + encode_headers(headers))
        place = stage.append(Append(topic, -1, now_ms, encode_key(key), encoded.value, block, due))
        return Position(*place, id_)

    # -- running ----------------------------------------------------------------------------------------------------

    def run_until_idle(self) -> None:
        """Run until every event has ended and is settled, those that wait for their time too.

        Raises `TargetError` if a function cannot go on, because its setup fails for example; what ends a test
        (`pytest.fail()`, Ctrl-C) and is raised in a handler goes through.
        """
        self._driver.play(self._play(None))

    async def arun_until_idle(self) -> None:
        """`run_until_idle` where an event loop runs: async handlers run on it."""
        await self._driver.aplay(self._play(None))

    def advance(self, seconds: float) -> None:
        """Let that many virtual seconds pass, 0 or more, and run what falls due until then."""
        self._driver.play(self._play(seconds))

    async def aadvance(self, seconds: float) -> None:
        """`advance` where an event loop runs."""
        await self._driver.aplay(self._play(seconds))

    @property
    def now(self) -> datetime:
        """The virtual time, UTC."""
        return datetime.fromtimestamp(self._stage.now_ms / 1000, UTC)

    # -- what came of it --------------------------------------------------------------------------------------------

    def topic(self, name: str) -> Sequence[StoredEvent]:
        """The events of a topic, in the order they came. Raises `UnknownTopic` if nobody declared or made it."""
        stage = self._stage
        return [StoredEvent.of(*found, stage.disk.cluster) for found in stage.arrivals.records(name)]

    def dead_letters(self, function: Callable[..., Any] | str | None = None) -> Sequence[DeadLetter]:
        """What a function (a handler or its name; all, if none is given) set aside, in the order that came."""
        stage, subject = self._stage, self._stage.subject
        specs = subject.manifest.functions if function is None else [subject.spec(function)]
        names = {spec.name for spec in specs}
        topics = dict.fromkeys(dead_letter_topic(subject.app, spec) for spec in specs)
        found = [
            DeadLetter.of(*record, stage.disk.cluster)
            for topic in topics
            if topic is not None
            for record in stage.arrivals.records(topic)
        ]
        return [letter for letter in found if letter.function in names]

    def attempts(self, function: Callable[..., Any] | str | None = None, *, lost: bool = False) -> Sequence[Attempt]:
        """The attempts of a function (of all, if none is given), in the order they ended.

        Those that were lost in a crash of the runtime were made again; they are left out unless `lost`.
        """
        attempts = self._stage.history.attempts
        name = None if function is None else self._stage.subject.spec(function).name
        return [one for one in attempts if name in {None, one.function} and (lost or not one.lost)]

    def story(self) -> str:
        """What happened, in words: each attempt in a line, then how many events each topic has."""
        return told(self._stage.history.attempts, self._stage.disk)

    # -- ends -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End in order: close what `setup=` opened, and raise what went wrong there. Closing twice does nothing."""
        if self._finalizer.alive:
            try:
                self._driver.play(self._stage.leave())
            finally:
                self._end()

    async def aclose(self) -> None:
        """`close` where an event loop runs."""
        if self._finalizer.alive:
            try:
                await self._driver.aplay(self._stage.leave())
            finally:
                self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _play(self, seconds: float | None) -> Any:
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"advance({seconds!r}): time passes by a number of seconds, 0 or more")
        check_environment(self._stage.subject.manifest.functions)
        return self._stage.play(seconds)

    def _end_somehow(self) -> None:
        """Close it; on the loop of the test, if it ran there and that is still there, and else without a word."""
        loop = self._driver.guest_of
        if loop is None:
            self.close()
        elif not (loop.is_closed() or loop.is_running()):
            loop.run_until_complete(self.aclose())
        else:
            self._drop()

    def _drop(self) -> None:
        """End without running anything."""
        self._finalizer()

    def _end(self) -> None:
        self._driver.close()
        self._finalizer()
        for complaint in self._stage.complaints:
            raise complaint

    def __repr__(self) -> str:
        subject = self._stage.subject
        state = "open" if self._finalizer.alive else "closed"
        ended = len(self._stage.history.attempts)
        return f"<TestApp {subject.app} with {', '.join(subject.handlers)}: {state}, {ended} attempts>"


def _drop(stage: Stage, driver: Driver) -> None:
    stage.drop()
    driver.drop()
