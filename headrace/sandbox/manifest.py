"""What a target declares, as data: the parent never imports user code, a worker does and sends this."""

from __future__ import annotations

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True):
    """A retry rule without its classes: those are matched in the worker, which reports the rule's number."""

    attempts: int
    delay: float
    factor: float
    max_delay: float
    jitter: str
    max_age: float | None


class BatchPolicy(msgspec.Struct, frozen=True):
    """Up to `size` events at once, or what is there `wait` seconds after the first of them could run."""

    size: int
    wait: float


class Grants(msgspec.Struct, frozen=True):
    """`Sandbox` as data."""

    memory: int
    cpu: float | None
    network: str | list[str]
    dns: bool
    files: dict[str, str]
    env: list[str]
    secrets: list[str]
    subprocess: bool
    tmp: int
    unrestricted: bool


class FunctionSpec(msgspec.Struct, frozen=True):
    """One declared function: all the runtime needs to subscribe to topics on its behalf.

    `emits` maps a topic to the type names it takes (empty: any). `start` is "earliest", "latest", an ISO 8601 time or
    None. `retry` has at least one rule; what no exception explains (a timeout, a crash, a `RetryAfter`) follows the
    last, which is the most general. `discard` is the reason of a `Discard` in place of a dead-letter topic. `explicit`
    names the options set in code, `settings` those that an operator's settings changed. `schema` is the payload's JSON
    Schema as JSON text, None for `str` and `bytes`. `setup` is the name of what sets its workers up; `rate` is how many
    events may start in a second. `batch` is there for handlers of many events at once.
    """

    name: str
    topics: list[str]
    emits: dict[str, list[str]]
    types: list[str]
    file: str
    line: int
    doc: str
    is_async: bool
    retry: list[RetryPolicy]
    timeout: float
    order: str
    concurrency: int
    workers: tuple[int, int]
    idle: float
    unmatched: str
    guarantee: str
    dead_letter: str | None
    discard: str | None
    max_hops: int
    start: str | None
    grants: Grants
    explicit: list[str]
    schema: str | None
    setup: str | None = None
    rate: float | None = None
    batch: BatchPolicy | None = None
    settings: list[str] = []


class Manifest(msgspec.Struct, frozen=True):
    """All functions of a target, and the fingerprint of the code they were read from."""

    functions: list[FunctionSpec]
    code: str
