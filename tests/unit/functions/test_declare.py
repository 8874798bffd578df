"""`@function`: what a declaration holds, and what a wrong one says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from headrace import Breaker, DeclarationError, Discard, Retry, Sandbox, function
from headrace.functions.declare import Declaration, declaration_of


class Order(BaseModel):
    id: str


def declared(*topics: Any, **options: Any) -> Declaration:
    """The declaration of a small handler."""

    def handle(order: Order) -> None: ...

    declaration = declaration_of(function(*topics or ("orders",), **options)(handle))
    assert declaration is not None
    return declaration


def refusal(*topics: Any, **options: Any) -> str:
    """What is said of a wrong declaration, without its place, which is checked here."""
    with pytest.raises(DeclarationError) as caught:
        declared(*topics, **options)
    place, _, message = str(caught.value).partition(": ")
    file, _, line = place.rpartition(":")
    assert Path(file) == Path(__file__)
    assert "def handle" in Path(file).read_text().splitlines()[int(line) - 1]
    return message


def test_the_decorator_returns_the_very_same_function() -> None:
    def handle(order: Order) -> str:
        return order.id

    assert function("orders")(handle) is handle
    assert handle(Order(id="o-1")) == "o-1"


def test_a_declaration_has_the_documented_defaults() -> None:
    declaration = declared()
    assert declaration.name == "handle"
    assert declaration.topics == ("orders",)
    assert declaration.explicit == frozenset()
    assert declaration.retry == Retry(
        attempts=3, delay=1.0, factor=2.0, max_delay=60.0, jitter="full", on=(Exception,), not_on=(), max_age=None
    )
    assert (declaration.timeout, declaration.idle, declaration.workers, declaration.concurrency) == (30, 60, (0, 1), 1)
    assert (declaration.order, declaration.guarantee, declaration.unmatched) == ("key", "at-least-once", "skip")
    assert (declaration.on_exhausted, declaration.dead_letter, declaration.max_hops) == ("dead-letter", None, 16)
    assert declaration.breaker == Breaker(failures=10, lanes=3)
    assert declaration.sandbox == Sandbox(memory=512 << 20, network="none", files={}, env=(), secrets=())


def test_a_declaration_says_where_it_is_and_which_options_the_code_sets() -> None:
    declaration = declared("a", "b", timeout=5, name="other")
    assert declaration.explicit == {"timeout", "name"}
    assert declaration.file == __file__
    assert repr(declaration) == f"<Declaration other of a, b at {__file__}:{declaration.line}>"


def test_a_declaration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        declared().timeout = 5.0  # type: ignore[misc]


def test_a_number_of_workers_is_both_least_and_most() -> None:
    assert declared(workers=4).workers == (4, 4)
    assert declared(workers=(0, 4)).workers == (0, 4)


def test_a_wrapped_handler_is_placed_where_the_user_wrote_it() -> None:
    def wrap(handler: Any) -> Any:
        @functools.wraps(handler)
        def wrapper(order: Order) -> None:
            handler(order)

        return wrapper

    @function("orders")
    @wrap
    def handle(order: Order) -> None: ...

    declaration = declaration_of(handle)
    assert declaration is not None
    assert Path(__file__).read_text().splitlines()[declaration.line - 1].strip() == '@function("orders")'


def test_what_is_not_declared_has_no_declaration() -> None:
    assert declaration_of(print) is None
    assert declaration_of(type("Fake", (), {"__headrace__": "not one"})) is None


@pytest.mark.parametrize(
    ("topics", "problem"),
    [
        (("",), "topic '': a topic name is 1 to 249 letters"),
        (("orders!",), "topic 'orders!': a topic name is"),
        (("..",), "topic '..': a topic name is"),
        (("x" * 250,), "a topic name is 1 to 249 letters"),
        ((1,), "topic 1: a topic name is"),
        (("orders", "orders"), "topics ('orders', 'orders'): a topic is named twice"),
    ],
)
def test_a_wrong_topic_is_refused(topics: tuple[Any, ...], problem: str) -> None:
    assert problem in refusal(*topics)


def test_a_declaration_without_a_topic_says_how_to_name_one() -> None:
    def handle(order: Order) -> None: ...

    with pytest.raises(DeclarationError, match=r'at least one topic: @function\("orders"\)'):
        function()(handle)
    with pytest.raises(
        DeclarationError, match=r'test_declare.py:\d+: @function needs the topics .*@function\("orders"\)'
    ):
        function(handle)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeuot": 5}, "unknown option 'timeuot'; did you mean 'timeout'?"),
        ({"zzz": 5}, "unknown option 'zzz'; the options are name, emits, retry,"),
        ({"timeout": 0}, "timeout=0: Input should be greater than 0"),
        ({"timeout": float("inf")}, "timeout=inf: Input should be a finite number"),
        ({"timeout": "soon"}, "timeout='soon': Input should be a valid number"),
        ({"order": "keys"}, "order='keys': Input should be 'key', 'partition' or 'none'"),
        ({"guarantee": "exactly-once"}, "Input should be 'at-least-once' or 'effectively-once'"),
        ({"unmatched": "drop"}, "Input should be 'skip' or 'reject'"),
        ({"max_hops": 0}, "max_hops=0: Input should be greater than or equal to 1"),
        ({"retry": []}, "at least 1 item"),
        ({"retry": 5}, "retry=5: Retry: Input should be a dictionary or an instance of Retry"),
        ({"retry": {"attempts": 0}}, "attempts: Input should be greater than or equal to 1"),
        ({"workers": 0}, "workers=0: it is a number of processes, 1 to 1000, or the least and the most of them"),
        ({"timeout": 1e308}, "timeout=1e+308: Input should be less than or equal to 1000000000"),
        ({"workers": 10**30}, "it is a number of processes, 1 to 1000, or the least and the most of them"),
        ({"workers": (3, 2)}, "workers=(3, 2): the first number is the least, the second the most"),
        ({"name": "no spaces"}, "name='no spaces': a function's name is a letter or '_'"),
        ({"emits": ["a", "b"]}, "it is a topic's name, or what goes where by type: emits={"),
        ({"emits": {"mails": "EmailSent"}}, "it is a topic's name, or what goes where by type"),
        ({"emits": "no topic!"}, "emits topic 'no topic!': a topic name is"),
        ({"emits": ""}, "emits topic '': a topic name is"),
        ({"emits": {"no topic!": Order}}, "emits topic 'no topic!': a topic name is"),
        ({"dead_letter": "no topic!"}, "dead_letter='no topic!': a topic name is"),
        ({"dead_letter": 5}, 'dead_letter=5: it is a topic\'s name, or Discard("reason")'),
        ({"dead_letter": "orders"}, "dead_letter='orders' is a topic it subscribes to"),
        ({"start": "yesterday"}, 'it is "earliest", "latest", or a datetime with a time zone'),
        ({"start": datetime(2026, 1, 1)}, 'it is "earliest", "latest", or a datetime with a time zone'),  # noqa: DTZ001
        ({"where": True}, "where=True: Input should be callable"),
        ({"where": lambda order: True}, "where= is called with the payload and the event"),
        ({"timeout": 0, "max_hops": 0}, "timeout=0: Input should be greater than 0; max_hops=0: Input should be"),
    ],
)
def test_a_wrong_option_is_refused_with_its_place_and_a_remedy(options: dict[str, Any], problem: str) -> None:
    assert problem in refusal(**options)


def test_an_async_where_is_refused_because_it_would_always_be_true() -> None:
    async def where(order: Order, event: object) -> bool:
        return False

    assert "where= must be a plain 'def'" in refusal(where=where)


def yields() -> Iterator[int]:
    yield 1


async def yields_later() -> AsyncIterator[int]:
    yield 1


def needs_more(url: str, *more: str, timeout: float = 1.0) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("setup", [yields, yields_later])
def test_a_setup_is_a_generator_without_arguments(setup: Any) -> None:
    assert declared(setup=setup).setup is setup


@pytest.mark.parametrize(
    ("setup", "problem"),
    [
        (print, "setup=print does not yield: it is a 'def' or 'async def' that yields once what ctx.state is to be"),
        (contextmanager(yields), "setup=yields: give the generator itself, without @contextmanager"),
        (asynccontextmanager(yields_later), "setup=yields_later: give the generator itself, without @contextmanager"),
        (needs_more, "setup=needs_more is called without arguments; give 'url' a default or remove it"),
        (functools.partial(needs_more, "here"), "is no plain function; wrap it in a 'def' or 'async def' that yields"),
        (3, "setup=3: "),
    ],
)
def test_what_is_no_setup_is_refused(setup: Any, problem: str) -> None:
    assert problem in refusal(setup=setup)


@pytest.mark.parametrize("rate", [0, -1.0, 1e-300, float("inf"), float("nan"), "100/s"])
def test_a_rate_is_a_number_of_events_a_second(rate: Any) -> None:
    assert declared(rate=0.5).rate == 0.5
    assert f"rate={rate!r}: " in refusal(rate=rate)


@pytest.mark.parametrize(
    "options",
    [
        {"breaker": Breaker()},
        {"on_exhausted": "park-key"},
    ],
)
def test_an_option_that_is_not_built_is_refused_and_never_ignored(options: dict[str, Any]) -> None:
    assert f"{next(iter(options))}=" in refusal(**options)
    assert "is not built yet in this version; remove it" in refusal(**options)


def test_concurrency_needs_an_async_handler_and_has_a_limit() -> None:
    assert "concurrency=4 needs 'async def handle'" in refusal(concurrency=4)

    async def handle(order: Order) -> None: ...

    function("orders", concurrency=169)(handle)
    declaration = declaration_of(handle)
    assert declaration is not None
    assert declaration.concurrency == 169
    with pytest.raises(
        DeclarationError, match="concurrency=170: a worker runs at most 169 events at once; use workers="
    ):
        function("orders", concurrency=170)(handle)


def test_an_option_at_its_default_is_no_reliance_on_what_is_not_built() -> None:
    assert declared(breaker=None).breaker is None
    assert declared(concurrency=1).concurrency == 1
    assert declared(on_exhausted="dead-letter").on_exhausted == "dead-letter"


def test_what_is_built_is_taken_as_given() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    declaration = declared(start=moment, dead_letter=Discard("noise"), emits={"a": Order, "b": [str, bytes]})
    assert declaration.start == moment
    assert declaration.dead_letter == Discard("noise")
    assert declaration.emits == {"a": Order, "b": [str, bytes]}
    assert declared(where=lambda order, event: True).where is not None
    assert declared(where=lambda *both: True).where is not None


def test_a_handler_that_yields_is_refused_because_calling_it_runs_nothing() -> None:
    def one(order: Order) -> Any:
        yield order

    async def many(order: Order) -> Any:
        yield order

    for handler in (one, many):
        with pytest.raises(DeclarationError, match=rf"test_declare.py:\d+: {handler.__name__} yields.*return a list"):
            function("orders")(handler)


@pytest.mark.parametrize("thing", [Order, functools.partial(print), print, "text"])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(DeclarationError, match=r"@function is for a 'def' or 'async def', and .* is neither"):
        function("orders")(thing)
