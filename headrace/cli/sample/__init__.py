"""Samples: plausible data for a function, made from the JSON Schema of what it takes.

    sample_of(spec, random.Random())     # Sample(data={"order_id": "order-4821", "total": 19.99}, type="OrderPlaced")

Nothing of the user's code is imported for that: what a schema does not say (a validator of its own, a date that has to
lie in the future) a sample may break, and the function then rejects it. `examples` of a field come before all else.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, NamedTuple

from headrace.cli.sample.failure import NoSample
from headrace.cli.sample.instance import Maker
from headrace.functions.codec import JsonText
from headrace.sandbox.manifest import FunctionSpec

__all__ = ["NoSample", "Sample", "sample_of"]

_ANY_OBJECT = {"type": "object", "additionalProperties": True}


class Sample(NamedTuple):
    """Data as a producer's `emit` takes it, and its type name; None where the function takes any type.

    `data` is a plain JSON value, or text for a function that takes `str` or `bytes`. What would be taken for text or
    for a tombstone there, and is JSON, is a `JsonText`.
    """

    data: object
    type: str | None

    @property
    def shown(self) -> str:
        """The data as it is typed on a command line."""
        if isinstance(self.data, JsonText | str):
            return self.data.text if isinstance(self.data, JsonText) else self.data
        return json.dumps(self.data, ensure_ascii=False)


def sample_of(spec: FunctionSpec, draw: Random, type_: str | None = None) -> Sample:
    """Data that the function takes (for a batch handler: one item), of the type named or of one of its types.

    The same state of `draw` makes the same sample. Raises `NoSample`, which says where and what to do.
    """
    if type_ is not None and spec.types and type_ not in spec.types:
        raise NoSample(f"{spec.name} takes no type {type_!r}; it takes: {', '.join(spec.types)}")
    chosen = type_ or (draw.choice(spec.types) if spec.types else None)
    if spec.schema is None:
        if spec.types:
            raise NoSample(f"{spec.name}: JSON Schema has no words for what it takes, so there is no sample of it")
        return Sample("sample", chosen)
    document = json.loads(spec.schema)
    if document == _ANY_OBJECT:
        return Sample({"sample": True}, chosen)
    try:
        value = Maker(document.get("$defs", {}), draw).make(_branch(document, spec.types, chosen))
    except NoSample as error:
        raise NoSample(f"{spec.name}: no sample can be made of what it takes: {error}") from error
    return Sample(JsonText(json.dumps(value)) if value is None or isinstance(value, str) else value, chosen)


def _branch(document: dict[str, Any], types: list[str], chosen: str | None) -> dict[str, Any]:
    """The schema of the chosen type: each branch of a union carries its type's name as `title`."""
    if len(types) > 1:
        return next((one for one in document.get("anyOf", ()) if one.get("title") == chosen), document)
    return document
