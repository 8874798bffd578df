"""Values a declaration is made of, beside `Retry`. All frozen; all validated when they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Batch:
    """Hand a `list[Model]` handler up to `size` events of one partition, waiting up to `wait` seconds to fill it."""

    size: Annotated[int, Ge(1)] = 100
    wait: Annotated[float, Ge(0)] = 0.5


@dataclass(frozen=True, config=_STRICT)
class Breaker:
    """Stop handing out events after `failures` failed attempts in a row over at least `lanes` lanes."""

    failures: Annotated[int, Ge(1)] = 10
    lanes: Annotated[int, Ge(1)] = 3


@dataclass(frozen=True, config=_STRICT)
class Discard:
    """Drop exhausted and rejected events instead of dead-lettering them; each is counted and logged with `reason`."""

    reason: Annotated[str, MinLen(1)]


@dataclass(frozen=True, config=_STRICT)
class Sandbox:
    """What a function may touch beyond its own code; everything not named is denied.

    `memory` is in bytes per worker. `network` is "none", "any", or ports such as ["tcp:587"]. `files` maps a path
    (relative to the target's folder, or absolute) to "ro" or "rw". `env` names variables passed on as they are;
    `secrets` names variables that only this function's workers see, and without which it does not start.
    """

    memory: Annotated[int, Ge(64 << 20)] = 512 << 20
    cpu: Annotated[float, Gt(0)] | None = None
    network: Literal["none", "any"] | Sequence[str] = "none"
    dns: bool = False
    files: Mapping[str, Literal["ro", "rw"]] = field(default_factory=dict)
    env: Sequence[str] = ()
    secrets: Sequence[str] = ()
    subprocess: bool = False
    tmp: Annotated[int, Ge(0)] = 64 << 20
    unrestricted: bool = False

    @classmethod
    def open(cls) -> Sandbox:
        """No restriction at all; for development, and reported loudly."""
        return cls(network="any", dns=True, subprocess=True, unrestricted=True)
