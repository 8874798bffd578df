"""What is wrong with a declaration, said in one line with its remedy; None where nothing is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from headrace.functions.names import FUNCTION_RULE, TOPIC_RULE, is_function, is_topic

# What a validator says of an option of several forms is a list of the forms it is not.
_FORMS = {
    "emits": 'it is a topic\'s name, or what goes where by type: emits={"emails": EmailSent, "audit": [Seen, Lost]}',
    "workers": "it is a number of processes, 1 to 1000, or the least and the most of them: workers=(0, 4)",
    "dead_letter": 'it is a topic\'s name, or Discard("reason")',
    "rate": "it is how many events may start in a second: rate=100, or rate=0.5 for one every two seconds",
    "start": 'it is "earliest", "latest", or a datetime with a time zone',
}

MAX_CONCURRENCY = 169
"""Events that one worker may run at once: as many as can be noted where the runtime sees them if the worker dies."""

# Declared and typed already, honoured later; until then a declaration that relies on one is refused, never ignored.
_NOT_BUILT: dict[str, Callable[[Any], bool]] = {
    "breaker": lambda value: value is not None,
    "on_exhausted": lambda value: value != "dead-letter",
}


def handler_problem(handler: object) -> str | None:
    """Why `handler` cannot be declared at all."""
    if not inspect.isfunction(handler):
        shown = getattr(handler, "__name__", None) or repr(handler)
        return f"@function is for a 'def' or 'async def', and {shown} is neither; wrap it in one"
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        return f"{handler.__name__} yields, so calling it runs nothing; return a list, or emit each with ctx.emit()"
    return None


def topics_problem(topics: tuple[object, ...]) -> str | None:
    """Why `topics` cannot be subscribed to."""
    if not topics:
        return '@function needs at least one topic: @function("orders")'
    for topic in topics:
        if not isinstance(topic, str) or not is_topic(topic):
            return f"topic {topic!r}: a topic name is {TOPIC_RULE}"
    if len(set(topics)) != len(topics):
        return f"topics {topics!r}: a topic is named twice"
    return None


def unknown_option(options: dict[str, Any], known: Iterable[str]) -> str | None:
    """The first option that is none of `known`, with the one that was probably meant."""
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
            return f"unknown option {option!r}; {hint}"
    return None


def malformed(error: ValidationError, options: dict[str, Any]) -> str:
    """What a validator found wrong with `options`, one part for each option."""
    problems: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        option, *path = map(str, item["loc"])
        where = "".join(f"{step}: " for step in path if "[" not in step)
        problems.setdefault(option, []).append(where + item["msg"].removeprefix("Value error, "))
    return "; ".join(
        f"{option}={options[option]!r}: {_FORMS.get(option) or ', '.join(what)}" for option, what in problems.items()
    )


def option_problem(handler: Callable[..., Any], topics: tuple[str, ...], options: dict[str, Any]) -> str | None:
    """What is wrong with options that are well-formed one by one."""
    for check in (_name_problem, _emits_problem, _workers_problem, _where_problem, _setup_problem):
        if problem := check(options):
            return problem
    if problem := _dead_letter_problem(topics, options):
        return problem
    if problem := _concurrency_problem(handler, options.get("concurrency", 1)):
        return problem
    for option, relies_on in _NOT_BUILT.items():
        if option in options and relies_on(options[option]):
            return f"{option}={options[option]!r} is not built yet in this version; remove it"
    return None


def _name_problem(options: dict[str, Any]) -> str | None:
    name = options["name"]
    return None if is_function(name) else f"name={name!r}: a function's name is {FUNCTION_RULE}"


def _emits_problem(options: dict[str, Any]) -> str | None:
    emits = options.get("emits", ())
    for topic in [emits] if isinstance(emits, str) else emits:
        if not is_topic(topic):
            return f"emits topic {topic!r}: a topic name is {TOPIC_RULE}"
    return None


def _dead_letter_problem(topics: tuple[str, ...], options: dict[str, Any]) -> str | None:
    topic = options.get("dead_letter")
    if isinstance(topic, str) and not is_topic(topic):
        return f"dead_letter={topic!r}: a topic name is {TOPIC_RULE}"
    if topic in topics:
        return f"dead_letter={topic!r} is a topic it subscribes to: every dead letter would come back; name another"
    return None


def _concurrency_problem(handler: Callable[..., Any], concurrency: int) -> str | None:
    if concurrency > 1 and not inspect.iscoroutinefunction(handler):
        return (
            f"concurrency={concurrency} needs 'async def {handler.__name__}': a sync handler runs one event "
            "at a time per worker; use workers= for more"
        )
    if concurrency > MAX_CONCURRENCY:
        return (
            f"concurrency={concurrency}: a worker runs at most {MAX_CONCURRENCY} events at once; use workers= for more"
        )
    return None


def _where_problem(options: dict[str, Any]) -> str | None:
    if (where := options.get("where")) is None:
        return None
    if inspect.iscoroutinefunction(where):
        return "where= must be a plain 'def': what an 'async def' returns is always true"
    try:
        inspect.signature(where).bind(None, None)
    except TypeError as error:
        return f"where= is called with the payload and the event, where=lambda order, event: …, but: {error}"
    except ValueError:
        return None  # a built-in that does not tell its signature
    return None


def _setup_problem(options: dict[str, Any]) -> str | None:
    if (setup := options.get("setup")) is None:
        return None
    name = getattr(setup, "__qualname__", None) or repr(setup)
    if not inspect.isgeneratorfunction(setup) and not inspect.isasyncgenfunction(setup):
        inner = inspect.unwrap(setup)
        if inner is not setup and (inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)):
            return f"setup={name}: give the generator itself, without @contextmanager or @asynccontextmanager around it"
        return f"setup={name} does not yield: it is a 'def' or 'async def' that yields once what ctx.state is to be"
    if not inspect.isfunction(setup):
        return f"setup={name} is no plain function; wrap it in a 'def' or 'async def' that yields"
    required = [p for p in inspect.signature(setup).parameters.values() if p.default is p.empty]
    if named := [p.name for p in required if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]:
        return f"setup={name} is called without arguments; give {named[0]!r} a default or remove it"
    return None


def _workers_problem(options: dict[str, Any]) -> str | None:
    low, high = options.get("workers", (0, 1))
    return None if low <= high else f"workers=({low}, {high}): the first number is the least, the second the most"
