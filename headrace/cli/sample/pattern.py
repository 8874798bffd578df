"""Text that matches a regular expression, for the patterns that fields have: codes, numbers, slugs.

Schemas hold the dialect of pydantic's validator, which for these is Python's, too. What is made is tried on the pattern
as a whole before it is given out, so that what is not understood here (look-around, references) gives nothing, never
what does not match.
"""

from __future__ import annotations

import importlib
import re
import string
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_TRIES = 50
_MORE = 3  # repetitions beyond the least, where any number will do
_CLASSES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_WORD": string.ascii_lowercase + string.digits,
    "CATEGORY_SPACE": " ",
}
_VISIBLE = string.ascii_letters + string.digits + string.punctuation + " "


def matching(pattern: str, lengths: range, draw: Random, *, guess: str) -> str | None:
    """Text with one of these lengths that matches: `guess` if it does; None if none was found."""
    try:
        compiled = re.compile(pattern)
        if len(guess) in lengths and compiled.search(guess):
            return guess
        # The interpreter's own parser: it is there in every version that headrace runs on, and no other place has one.
        parsed = importlib.import_module("re._parser").parse(pattern)
        for turn in range(_TRIES):
            # Each try repeats more often, so that a pattern without an upper end grows to the least length.
            made = "".join(_of(part, draw, _MORE + turn * max(1, lengths.start // 10)) for part in parsed)
            if len(made) in lengths and compiled.search(made):
                return made
    except (re.error, LookupError, ValueError, ImportError, AttributeError, OverflowError):
        return None
    return None


def _of(part: tuple[Any, Any], draw: Random, more: int) -> str:
    kind, said = str(part[0]), part[1]
    if kind in _ONE:
        return draw.choice(_ONE[kind](said))
    if kind == "AT":
        return ""
    times = 1
    if kind in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        least, most, said = said
        times = draw.randint(least, min(int(most), least + more))
    elif kind == "SUBPATTERN":
        said = said[-1]
    elif kind == "BRANCH":
        said = draw.choice(said[1])
    else:
        raise LookupError(kind)
    return "".join(_of(one, draw, more) for _ in range(times) for one in said)


def _characters(said: Sequence[tuple[Any, Any]]) -> str:
    inverted = any(str(kind) == "NEGATE" for kind, _ in said)
    named = "".join(_named(kind, value) for kind, value in said if str(kind) != "NEGATE")
    if not inverted:
        return named
    plain, rest = ("".join(one for one in some if one not in named) for some in (string.ascii_lowercase, _VISIBLE))
    return plain or rest


def _named(kind: Any, value: Any) -> str:
    match str(kind):
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return "".join(chr(code) for code in range(value[0], min(value[1], value[0] + 200) + 1))
        case "CATEGORY":
            return _CLASSES[str(value)]
    raise LookupError(kind)


# One character each: those it may be.
_ONE: dict[str, Callable[[Any], str]] = {
    "LITERAL": chr,
    "NOT_LITERAL": lambda code: _VISIBLE.replace(chr(code), ""),
    "ANY": lambda _: string.ascii_lowercase,
    "IN": _characters,
}
