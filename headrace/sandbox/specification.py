"""From a handler to its `FunctionSpec`: a declaration without its classes."""

from __future__ import annotations

import inspect
import json
from datetime import datetime

from pydantic import PydanticUserError

from headrace.functions.codec import type_name
from headrace.functions.declare import Declaration
from headrace.functions.options import Discard, Sandbox
from headrace.functions.payload import Payload
from headrace.functions.retry import Retry
from headrace.functions.signature import Handler
from headrace.sandbox.failure import MAX_MESSAGE, cut
from headrace.sandbox.manifest import BatchPolicy, FunctionSpec, Grants, RetryPolicy


def spec_of(handler: Handler) -> FunctionSpec:
    """All that the runtime needs to know of a function, as data."""
    declared = handler.declaration
    letter = declared.dead_letter
    return FunctionSpec(
        name=declared.name,
        topics=list(declared.topics),
        emits=_emits(declared),
        types=sorted(handler.payload.models),
        file=declared.file,
        line=declared.line,
        doc=cut((inspect.getdoc(declared.handler) or "").partition("\n")[0], MAX_MESSAGE),
        is_async=handler.is_async,
        retry=[_retry(rule) for rule in declared.rules],
        timeout=declared.timeout,
        order=declared.order,
        concurrency=declared.concurrency,
        workers=declared.workers,
        idle=declared.idle,
        unmatched=declared.unmatched,
        guarantee=declared.guarantee,
        dead_letter=letter if isinstance(letter, str) else None,
        discard=letter.reason if isinstance(letter, Discard) else None,
        max_hops=declared.max_hops,
        start=declared.start.isoformat() if isinstance(declared.start, datetime) else declared.start,
        grants=_grants(declared.sandbox),
        explicit=sorted(declared.explicit),
        schema=_schema(handler.payload),
        setup=None if declared.setup is None else declared.setup.__qualname__,
        rate=declared.rate,
        batch=None if (batch := declared.batch) is None else BatchPolicy(batch.size, batch.wait),
    )


def _emits(declared: Declaration) -> dict[str, list[str]]:
    emits = declared.emits
    if emits is None:
        return {}
    if isinstance(emits, str):
        return {emits: []}
    return {
        topic: [type_name(cls) for cls in ([types] if isinstance(types, type) else types)]
        for topic, types in emits.items()
    }


def _retry(retry: Retry) -> RetryPolicy:
    return RetryPolicy(
        attempts=retry.attempts,
        delay=retry.delay,
        factor=retry.factor,
        max_delay=retry.max_delay,
        jitter=retry.jitter,
        max_age=retry.max_age,
    )


def _grants(sandbox: Sandbox) -> Grants:
    return Grants(
        memory=sandbox.memory,
        cpu=sandbox.cpu,
        network=sandbox.network if isinstance(sandbox.network, str) else list(sandbox.network),
        dns=sandbox.dns,
        files=dict(sandbox.files),
        env=list(sandbox.env),
        secrets=list(sandbox.secrets),
        subprocess=sandbox.subprocess,
        tmp=sandbox.tmp,
        unrestricted=sandbox.unrestricted,
    )


def _schema(payload: Payload) -> str | None:
    try:
        schema = payload.schema()
    except (PydanticUserError, TypeError):  # decodable, but JSON Schema has no words for it
        return None
    return None if schema is None else json.dumps(schema)
