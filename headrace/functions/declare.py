"""`@function`: a declaration attached to a plain callable.

No registry and no app object: the decorator hangs a frozen `Declaration` on the handler and returns that very handler;
the loader finds declarations by looking through a module's names.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, Unpack

from headrace.functions.errors import DeclarationError
from headrace.functions.names import FUNCTION_RULE, TOPIC_RULE, is_function, is_topic
from headrace.functions.options import Batch, Breaker, Discard, Sandbox
from headrace.functions.payload import explain
from headrace.functions.retry import Retry

P = ParamSpec("P")
R = TypeVar("R")

ATTRIBUTE = "__headrace__"

Emits = str | Mapping[str, type | Sequence[type]]
Order = Literal["key", "partition", "none"]
Guarantee = Literal["at-least-once", "effectively-once"]
Seconds = Annotated[float, Gt(0)]


@with_config(ConfigDict(extra="forbid", arbitrary_types_allowed=True))
class Options(TypedDict, total=False):
    """The options of `@function`. See the reference for each; defaults are those of `Declaration`."""

    name: str
    emits: Emits
    retry: Retry
    timeout: Seconds
    order: Order
    concurrency: Annotated[int, Ge(1)]
    workers: Annotated[int, Ge(1)] | tuple[Annotated[int, Ge(0)], Annotated[int, Ge(1)]]
    idle: Seconds
    batch: Batch
    where: Callable[..., bool]
    unmatched: Literal["skip", "reject"]
    guarantee: Guarantee
    dead_letter: str | Discard
    on_exhausted: Literal["dead-letter", "park-key"]
    max_hops: Annotated[int, Ge(1), Le(1000)]
    rate: Seconds
    setup: Callable[..., Any]
    breaker: Breaker | None
    sandbox: Sandbox
    start: Literal["earliest", "latest"] | datetime


# Declared and typed already, honoured later; until then a declaration that relies on one is refused, never ignored.
_NOT_BUILT: dict[str, Callable[[Any], bool]] = {
    "batch": lambda _: True,
    "rate": lambda _: True,
    "setup": lambda _: True,
    "breaker": lambda value: value is not None,
    "on_exhausted": lambda value: value != "dead-letter",
    "concurrency": lambda value: value > 1,
}


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
    retry: Retry = Retry()  # noqa: RUF009  (frozen)
    timeout: float = 30.0
    order: Order = "key"
    concurrency: int = 1
    workers: tuple[int, int] = (0, 1)
    idle: float = 60.0
    batch: Batch | None = None
    where: Callable[..., bool] | None = None
    unmatched: Literal["skip", "reject"] = "skip"
    guarantee: Guarantee = "at-least-once"
    dead_letter: str | Discard | None = None
    on_exhausted: Literal["dead-letter", "park-key"] = "dead-letter"
    max_hops: int = 16
    rate: float | None = None
    setup: Callable[..., Any] | None = None
    breaker: Breaker | None = Breaker()  # noqa: RUF009  (frozen)
    sandbox: Sandbox = Sandbox()  # noqa: RUF009  (frozen)
    start: Literal["earliest", "latest"] | datetime | None = None

    @property
    def place(self) -> str:
        """Where it is declared, as `file:line`."""
        return f"{self.file}:{self.line}"

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
    if problem := _topics_problem(topics) or _unknown(options):
        raise DeclarationError(f"{place}: {problem}")
    try:
        checked = _validator().validate_python(options)
    except ValidationError as error:
        raise DeclarationError(f"{place}: {explain(error)}") from None
    if isinstance(workers := checked.get("workers"), int):
        checked["workers"] = (workers, workers)
    checked.setdefault("name", handler.__name__)
    if problem := _problem(handler, checked):
        raise DeclarationError(f"{place}: {problem}")
    file, _, line = place.rpartition(":")
    return Declaration(
        handler=handler, topics=topics, file=file, line=int(line), explicit=frozenset(options), **checked
    )


@cache
def _validator() -> TypeAdapter[Any]:
    return TypeAdapter(Options)


def _topics_problem(topics: tuple[object, ...]) -> str | None:
    if not topics:
        return '@function needs at least one topic: @function("orders")'
    for topic in topics:
        if not isinstance(topic, str) or not is_topic(topic):
            return f"topic {topic!r}: a topic name is {TOPIC_RULE}"
    if len(set(topics)) != len(topics):
        return f"topics {topics!r}: a topic is named twice"
    return None


def _unknown(options: dict[str, Any]) -> str | None:
    known = Options.__annotations__
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
            return f"unknown option {option!r}; {hint}"
    return None


def _problem(handler: Callable[..., Any], options: dict[str, Any]) -> str | None:
    for check in (_name_problem, _emits_problem, _dead_letter_problem, _workers_problem):
        if problem := check(options):
            return problem
    if options.get("concurrency", 1) > 1 and not inspect.iscoroutinefunction(handler):
        return (
            f"concurrency={options['concurrency']} needs 'async def {handler.__name__}': a sync handler runs one event "
            "at a time per worker; use workers= for more"
        )
    for option, relies_on in _NOT_BUILT.items():
        if option in options and relies_on(options[option]):
            return f"{option}={options[option]!r} is not built yet in this version; remove it"
    return None


def _name_problem(options: dict[str, Any]) -> str | None:
    name = options["name"]
    return None if is_function(name) else f"name={name!r}: a function's name is {FUNCTION_RULE}"


def _emits_problem(options: dict[str, Any]) -> str | None:
    emits = options.get("emits") or ()
    for topic in [emits] if isinstance(emits, str) else emits:
        if not is_topic(topic):
            return f"emits topic {topic!r}: a topic name is {TOPIC_RULE}"
    return None


def _dead_letter_problem(options: dict[str, Any]) -> str | None:
    topic = options.get("dead_letter")
    if isinstance(topic, str) and not is_topic(topic):
        return f"dead_letter={topic!r}: a topic name is {TOPIC_RULE}"
    return None


def _workers_problem(options: dict[str, Any]) -> str | None:
    low, high = options.get("workers", (0, 1))
    return None if low <= high else f"workers=({low}, {high}): the first number is the least, the second the most"


def _place(handler: Any) -> str:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else f"{getattr(handler, '__module__', '?')}:0"
