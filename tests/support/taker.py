"""A function that takes a payload, as its manifest says it and as its worker decodes it."""

from __future__ import annotations

from typing import Any

from headrace import Batch, function
from headrace.cli.sample import Sample
from headrace.functions.codec import encode
from headrace.functions.declare import declaration_of
from headrace.functions.payload import Skip, Unfit
from headrace.functions.signature import Handler, read_signature
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.specification import spec_of


def made_for(annotation: Any) -> tuple[Handler, FunctionSpec]:
    """A function that takes this, or batches of it."""

    def handle(payload: Any) -> None: ...

    handle.__annotations__["payload"] = annotation
    is_batch = getattr(annotation, "__origin__", None) is list
    declared = declaration_of(function("orders", **({"batch": Batch()} if is_batch else {}))(handle))
    assert declared is not None
    handler = read_signature(declared)
    return handler, spec_of(handler)


def fits(handler: Handler, sample: Sample) -> None:
    """It decodes what the sample is written as."""
    value = encode(sample.data).value
    assert value is not None, "a sample is no tombstone"
    payload = handler.payload.decode(sample.type, value)
    assert not isinstance(payload, Skip | Unfit), f"{sample.data} is refused: {payload}"
