"""Values a declaration is made of, beside `Retry`. All frozen; all validated when they are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator

from headrace.functions.value import value

_PORT = re.compile(r"tcp:([1-9][0-9]{0,4})")


def _port(rule: str) -> str:
    if (match := _PORT.fullmatch(rule)) is None or int(match[1]) > 65535:
        raise ValueError(f'{rule!r} is no port; write "tcp:" and a number from 1 to 65535, for example "tcp:587"')
    return rule


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return name


Port = Annotated[str, AfterValidator(_port)]
Variable = Annotated[str, AfterValidator(_variable)]


@value
class Batch:
    """Hand a `list[Model]` handler up to `size` events of one partition, waiting up to `wait` seconds to fill it.

        @function("orders", batch=Batch(size=500, wait=1.0))
        def store(orders: list[Order], ctx: Context) -> None:
            for i, refused in insert_many(orders):
                ctx.fail(i, refused)

    What it raises instead is nobody's failure yet: the batch is divided until one event fails alone.
    """

    size: Annotated[int, Ge(1)] = 100
    wait: Annotated[float, Ge(0)] = 0.5


@value
class Breaker:
    """Stop handing out events after `failures` failed attempts in a row over at least `lanes` lanes."""

    failures: Annotated[int, Ge(1)] = 10
    lanes: Annotated[int, Ge(1)] = 3


@value
class Discard:
    """Drop exhausted and rejected events instead of dead-lettering them; each is counted and logged with `reason`."""

    reason: Annotated[str, MinLen(1)]


@value
class Sandbox:
    """What a function may touch beyond its own code; everything not named is denied.

    `memory` is in bytes per worker. `network` is "none", "any", or ports such as ["tcp:587"]. `files` maps a path
    (relative to the target's folder, or absolute) to "ro" or "rw". `env` names variables passed on as they are;
    `secrets` names variables that only this function's workers see, and without which it does not start.
    """

    memory: Annotated[int, Ge(64 << 20)] = 512 << 20
    cpu: Annotated[float, Gt(0)] | None = None
    network: Literal["none", "any"] | Sequence[Port] = "none"
    dns: bool = False
    files: Mapping[str, Literal["ro", "rw"]] = field(default_factory=dict)
    env: Sequence[Variable] = ()
    secrets: Sequence[Variable] = ()
    subprocess: bool = False
    tmp: Annotated[int, Ge(0)] = 64 << 20
    unrestricted: bool = False

    @classmethod
    def open(cls) -> Sandbox:
        """No restriction at all; for development, and reported loudly."""
        return cls(network="any", dns=True, subprocess=True, unrestricted=True)
