"""`@function`: a declaration attached to a plain callable.

No registry and no app object: the decorator hangs a frozen `Declaration` on the handler and returns that very handler;
the loader finds declarations by looking through a module's names.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, Unpack

from headrace.functions.errors import DeclarationError
from headrace.functions.event import Event
from headrace.functions.options import Batch, Breaker, Discard, Sandbox
from headrace.functions.problems import handler_problem, malformed, option_problem, topics_problem, unknown_option
from headrace.functions.retry import Retry

P = ParamSpec("P")
R = TypeVar("R")

ATTRIBUTE = "__headrace__"

Emits = str | Mapping[str, type | Sequence[type]]
Order = Literal["key", "partition", "none"]
Guarantee = Literal["at-least-once", "effectively-once"]
Where = Callable[[Any, Event], bool]
Seconds = Annotated[float, Gt(0), Le(1e9)]  # clocks and timers take no more
PerSecond = Annotated[float, Ge(1e-6)]
Processes = Annotated[int, Ge(1), Le(1000)]  # more would not fail, but take the machine down first
Setup = Callable[[], Iterator[Any]] | Callable[[], AsyncIterator[Any]]


@with_config(ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False))
class Options(TypedDict, total=False):
    """The options of `@function`. See the reference for each; defaults are those of `Declaration`."""

    name: str
    emits: Emits
    retry: Retry | Annotated[Sequence[Retry], MinLen(1)]
    timeout: Seconds
    order: Order
    concurrency: Annotated[int, Ge(1)]
    workers: Processes | tuple[Annotated[int, Ge(0)], Processes]
    idle: Seconds
    batch: Batch
    where: Where
    unmatched: Literal["skip", "reject"]
    guarantee: Guarantee
    dead_letter: str | Discard
    on_exhausted: Literal["dead-letter", "park-key"]
    max_hops: Annotated[int, Ge(1), Le(1000)]
    rate: PerSecond
    setup: Setup
    breaker: Breaker | None
    sandbox: Sandbox
    start: Literal["earliest", "latest"] | AwareDatetime


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a handler wants from the runtime. `explicit` names the options the code sets itself."""

    handler: Callable[..., Any]
    name: str
    topics: tuple[str, ...]
    file: str
    line: int
    explicit: frozenset[str]
    emits: Emits | None = None
    retry: Retry | Sequence[Retry] = Retry()  # noqa: RUF009  (frozen)
    timeout: float = 30.0
    order: Order = "key"
    concurrency: int = 1
    workers: tuple[int, int] = (0, 1)
    idle: float = 60.0
    batch: Batch | None = None
    where: Where | None = None
    unmatched: Literal["skip", "reject"] = "skip"
    guarantee: Guarantee = "at-least-once"
    dead_letter: str | Discard | None = None
    on_exhausted: Literal["dead-letter", "park-key"] = "dead-letter"
    max_hops: int = 16
    rate: float | None = None
    setup: Setup | None = None
    breaker: Breaker | None = Breaker()  # noqa: RUF009  (frozen)
    sandbox: Sandbox = Sandbox()  # noqa: RUF009  (frozen)
    start: Literal["earliest", "latest"] | datetime | None = None

    @property
    def place(self) -> str:
        """Where it is declared, as `file:line`."""
        return f"{self.file}:{self.line}"

    @property
    def rules(self) -> tuple[Retry, ...]:
        """The retry rules; the first one that an exception fits applies."""
        return (self.retry,) if isinstance(self.retry, Retry) else tuple(self.retry)

    def __repr__(self) -> str:
        return f"<Declaration {self.name} of {', '.join(self.topics)} at {self.place}>"


def function(*topics: str, **options: Unpack[Options]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a handler: it subscribes to `topics` and is run by headrace as `options` say.

    Returns the same callable, so that the handler can still be called and tested as plain Python. Raises
    `DeclarationError`, naming file and line, for a wrong topic, an unknown or malformed option, or one that is not
    built yet. The signature is checked when the target is loaded, because annotations may name what comes later.
    """
    if topics and callable(topics[0]):
        raise DeclarationError(f'{_place(topics[0])}: @function needs the topics it subscribes to: @function("orders")')

    def attach(handler: Callable[P, R]) -> Callable[P, R]:
        setattr(handler, ATTRIBUTE, _declare(handler, topics, dict(options)))
        return handler

    return attach


def declaration_of(candidate: object) -> Declaration | None:
    """The declaration attached to `candidate`, if there is one."""
    declaration = getattr(candidate, ATTRIBUTE, None)
    return declaration if isinstance(declaration, Declaration) else None


def _declare(handler: Callable[..., Any], topics: tuple[str, ...], options: dict[str, Any]) -> Declaration:
    place = _place(handler)
    if (
        problem := handler_problem(handler)
        or topics_problem(topics)
        or unknown_option(options, Options.__annotations__)
    ):
        raise DeclarationError(f"{place}: {problem}")
    try:
        checked = _validator().validate_python(options)
    except ValidationError as error:
        raise DeclarationError(f"{place}: {malformed(error, options)}") from None
    if isinstance(workers := checked.get("workers"), int):
        checked["workers"] = (workers, workers)
    checked.setdefault("name", handler.__name__)
    if problem := option_problem(handler, topics, checked):
        raise DeclarationError(f"{place}: {problem}")
    file, _, line = place.rpartition(":")
    return Declaration(
        handler=handler, topics=topics, file=file, line=int(line), explicit=frozenset(options), **checked
    )


@cache
def _validator() -> TypeAdapter[Any]:
    return TypeAdapter(Options)


def _place(handler: Any) -> str:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else f"{getattr(handler, '__module__', '?')}:0"
