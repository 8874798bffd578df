"""Frozen values that are checked when they are made: what the options of a declaration are written with."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from headrace.functions.errors import DeclarationError
from headrace.functions.payload import explain

T = TypeVar("T")

# NaN and infinity pass every bound and then spoil the arithmetic behind it.
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are validated; a wrong one raises `DeclarationError`, naming the line.

    Without this a user who writes `Retry(attempts=0)` would get a page from pydantic that does not name their file.
    """
    made: type[Any] = dataclass(frozen=True, config=_CONFIG)(cls)
    check: Callable[..., None] = made.__init__

    @functools.wraps(check)
    def checked(self: object, *args: Any, **kwargs: Any) -> None:
        try:
            check(self, *args, **kwargs)
        except ValidationError as error:
            caller = sys._getframe(1)
            place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
            raise DeclarationError(f"{place}: {cls.__name__}: {explain(error)}") from None

    made.__init__ = checked
    return made
