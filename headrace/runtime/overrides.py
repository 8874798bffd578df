"""Overrides: what an operator sets of a function's options, for all functions or for one by name.

`[defaults]` is for options the code does not set; `[functions.NAME]` wins over the code. Neither says what a function
means (topics, order, guarantee): that is the code's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from headrace.functions.declare import PerSecond, Processes, Seconds
from headrace.functions.errors import SettingsError
from headrace.functions.names import meant
from headrace.functions.problems import MAX_CONCURRENCY
from headrace.runtime.quantity import bytes_of
from headrace.sandbox.manifest import BatchPolicy, FunctionSpec, Manifest

_CLOSED = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _least_and_most(value: int | tuple[int, int]) -> int | tuple[int, int]:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError("the first number is the least, the second the most")
    return value


class RetrySection(BaseModel):
    """What is set of every retry rule of a function; which errors a rule is for stays as it is in the code."""

    model_config = _CLOSED

    attempts: Annotated[int, Ge(1)] | None = None
    delay: Annotated[float, Ge(0)] | None = None
    factor: Annotated[float, Ge(1)] | None = None
    max_delay: Annotated[float, Ge(0)] | None = None
    jitter: Literal["full", "none"] | None = None
    max_age: Annotated[float, Gt(0)] | None = None


class BatchSection(BaseModel):
    """Of a handler that takes batches: how many events at most, and how many seconds they may take to come together."""

    model_config = _CLOSED

    size: Annotated[int, Ge(1)] | None = None
    wait: Annotated[float, Ge(0)] | None = None


class SandboxSection(BaseModel):
    """Less than the code asks for, never more. `memory` is in bytes, or as in `256MiB`."""

    model_config = _CLOSED

    memory: Annotated[int, Ge(64 << 20), BeforeValidator(lambda value: bytes_of(str(value)))] | None = None


class FunctionSection(BaseModel):
    """Options an operator may set. `timeout` and `idle` are in seconds; `workers` is a number, or least and most;
    `rate` is events a second.
    """

    model_config = _CLOSED

    retry: RetrySection | None = None
    timeout: Seconds | None = None
    workers: (
        Annotated[
            Processes | tuple[Annotated[int, Ge(0)], Processes],
            AfterValidator(_least_and_most),
        ]
        | None
    ) = None
    concurrency: Annotated[int, Ge(1), Le(MAX_CONCURRENCY)] | None = None
    idle: Seconds | None = None
    batch: BatchSection | None = None
    rate: PerSecond | None = None
    sandbox: SandboxSection | None = None


@dataclass(frozen=True, slots=True)
class Overrides:
    """All that is set: for every function, and by name."""

    defaults: FunctionSection
    functions: Mapping[str, FunctionSection]

    def applied(self, manifest: Manifest) -> Manifest:
        """The manifest as it is to be served. Raises `SettingsError` for a name or a value that does not fit it."""
        if unknown := self.functions.keys() - {spec.name for spec in manifest.functions}:
            names = [spec.name for spec in manifest.functions]
            near, known = meant(min(unknown), names), ", ".join(names)
            raise SettingsError(
                f"settings functions.{min(unknown)}: no function has that name{near}; there are: {known}"
            )
        return msgspec.structs.replace(manifest, functions=[self._applied(spec) for spec in manifest.functions])

    def _applied(self, spec: FunctionSpec) -> FunctionSpec:
        spare = frozenset(spec.explicit) | (frozenset() if spec.batch else {"batch"})
        spec = _with(spec, "defaults", self.defaults, spare=spare)
        own = self.functions.get(spec.name)
        return spec if own is None else _with(spec, f"functions.{spec.name}", own, spare=frozenset())


def _with(spec: FunctionSpec, place: str, section: FunctionSection, *, spare: frozenset[str]) -> FunctionSpec:
    """The function with what `section` sets, but for the options in `spare`."""
    changes: dict[str, Any] = {}
    for option in sorted(section.model_fields_set - spare):
        if (value := getattr(section, option)) is None:
            continue
        match option:
            case "retry":
                changes["retry"] = [
                    msgspec.structs.replace(r, **value.model_dump(exclude_none=True)) for r in spec.retry
                ]
            case "workers":
                changes["workers"] = (value, value) if isinstance(value, int) else value
            case "sandbox":
                changes["grants"] = msgspec.structs.replace(spec.grants, memory=_narrowed(spec, place, value))
            case "batch":
                changes[option] = _batch(spec, place, value)
            case "concurrency":
                _check_concurrency(spec, place, value)
                changes[option] = value
            case _:
                changes[option] = value
    settings = sorted({*spec.settings, *({"grants": "sandbox"}.get(name, name) for name in changes)})
    return msgspec.structs.replace(spec, **changes, settings=settings)


def _batch(spec: FunctionSpec, place: str, section: BatchSection) -> BatchPolicy:
    if spec.batch is None:
        raise SettingsError(
            f"settings {place}.batch: {spec.name} ({spec.file}:{spec.line}) handles one event at a time; only code can "
            "make it take batches"
        )
    return msgspec.structs.replace(spec.batch, **section.model_dump(exclude_none=True))


def _check_concurrency(spec: FunctionSpec, place: str, concurrency: int) -> None:
    if concurrency > 1 and not spec.is_async:
        raise SettingsError(
            f"settings {place}.concurrency={concurrency}: {spec.name} ({spec.file}:{spec.line}) is no 'async def', and "
            "runs one event at a time per worker; set workers for more"
        )


def _narrowed(spec: FunctionSpec, place: str, section: SandboxSection) -> int:
    memory, declared = section.memory, spec.grants.memory
    if memory is None or spec.grants.unrestricted:
        return declared
    if memory > declared:
        raise SettingsError(
            f"settings {place}.sandbox.memory={memory}: {spec.name} ({spec.file}:{spec.line}) asks for {declared} "
            "bytes; settings can only narrow a sandbox, the code can widen it"
        )
    return memory
