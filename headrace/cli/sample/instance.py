"""A plausible instance of a JSON Schema as pydantic and msgspec write it.

A part that cannot be made is left out where it may be (an optional property, a branch of a union, the items of an array
that may be empty), and makes its whole impossible where it may not. Models that hold themselves end that way, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from headrace.cli.sample.failure import NoSample
from headrace.cli.sample.number import integer, number
from headrace.cli.sample.text import text

_DEEP = 3  # models within each other, from which on only what is required is made
_TRIES = 100

Schema = Mapping[str, Any]


class Maker:
    """Makes instances; `definitions` is what `$ref`s refer to."""

    def __init__(self, definitions: Mapping[str, Schema], draw: Random) -> None:
        self._definitions = definitions
        self._draw = draw
        self._open: list[str] = []

    def make(self, schema: Schema | bool, place: str = "", name: str = "") -> Any:
        """A value; `name` is that of the property it is for. Raises `NoSample`, naming the place."""
        if schema is False:
            raise NoSample(f"{place}: the schema forbids any value")
        schema = {} if schema is True else _merged(schema)
        if "$ref" in schema:
            with self._within(schema["$ref"], place) as target:
                return self.make({**target, **{key: schema[key] for key in schema if key != "$ref"}}, place, name)
        given = _given(schema)
        if given:
            return self._draw.choice(given)
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self._first(branches, place, name)
        return self._by_kind(schema, place, name)

    def _by_kind(self, schema: Schema, place: str, name: str) -> Any:
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema, place)
        if kind == "array":
            return self._array(schema, place, name)
        return self._scalar(kind, schema, place, name)

    def _scalar(self, kind: str, schema: Schema, place: str, name: str) -> Any:
        if kind in {"boolean", "null"}:
            return None if kind == "null" else self._draw.random() < 0.5
        if kind in {"integer", "number"}:
            return (integer if kind == "integer" else number)(schema, place, name, self._draw)
        if schema.get("contentMediaType") == "application/json" and "contentSchema" in schema:
            return json.dumps(self.make(schema["contentSchema"], place, name))
        return text(schema, place, name, self._draw)

    # -- unions and references ----------------------------------------------------------------------------------------

    def _first(self, branches: Sequence[Schema], place: str, name: str) -> Any:
        """Of the first branch that can be made; null last, but where it ends what is deep already.

        A pattern beside another branch is a number as text: the number says more, and keeps what the pattern does not.
        """
        order = list(branches)
        if all("$ref" in branch for branch in order):
            self._draw.shuffle(order)
        order.sort(key=lambda branch: ((branch.get("type") == "null") is not self._is_deep, "pattern" in branch))
        problem = NoSample(f"{place}: the schema has no branch to take")
        for branch in order:
            try:
                return self.make(branch, place, name)
            except NoSample as error:
                problem = error
        raise problem

    @contextmanager
    def _within(self, reference: str, place: str) -> Iterator[Schema]:
        name = reference.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if name in self._open:
            raise NoSample(f"{place}: {name} holds itself without end; make that part optional, or give an example")
        if name not in self._definitions:
            raise NoSample(f"{place}: the schema refers to {reference!r}, which it does not have")
        self._open.append(name)
        try:
            yield self._definitions[name]
        finally:
            self._open.pop()

    @property
    def _is_deep(self) -> bool:
        return len(self._open) > _DEEP

    # -- objects ------------------------------------------------------------------------------------------------------

    def _object(self, schema: Schema, place: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        properties, required = schema.get("properties", {}), schema.get("required", ())
        for name, part in properties.items():
            if name not in required and self._is_deep:
                continue
            try:
                made[name] = self.make(part, f"{place}.{name}" if place else name, name)
            except NoSample:
                if name in required:
                    raise
        for name in required:
            if name not in made:
                made[name] = self.make(schema.get("additionalProperties", True), f"{place}.{name}", name)
        return {**made, **self._entries(schema, place, len(made), named=bool(properties))}

    def _entries(self, schema: Schema, place: str, count: int, *, named: bool) -> dict[str, Any]:
        """What a map has: as many as it needs, and one unless it has properties with names of their own."""
        least = schema.get("minProperties", 0) - count
        wanted = max(least, 0 if named or self._is_deep or schema.get("maxProperties", 1) < 1 else 1)
        keys, values = schema.get("propertyNames", {}), schema.get("additionalProperties", True)
        for pattern, part in schema.get("patternProperties", {}).items():
            keys, values = {"type": "string", "pattern": pattern}, part
        if values is False:
            return {}
        entries: dict[str, Any] = {}
        try:
            for turn in range(_TRIES):
                if len(entries) >= wanted:
                    break
                # A map by number has a schema that does not say so: a number in text does for either.
                key = str(self.make(keys, place)) if keys else str(turn + 1)
                entries[key] = self.make(values, f"{place}[{key!r}]")
        except NoSample:
            if least > 0:
                raise
        if len(entries) < least:
            raise NoSample(f"{place}: {least} different keys were not found")
        return entries

    # -- arrays -------------------------------------------------------------------------------------------------------

    def _array(self, schema: Schema, place: str, name: str) -> list[Any]:
        fixed = schema.get("prefixItems", ())
        items = schema.get("items", not fixed)
        least = schema.get("minItems", 0)
        wanted = len(fixed) + (0 if items is False or self._is_deep else self._draw.randint(1, 2))
        wanted = min(max(wanted, least), schema.get("maxItems", 1 << 20))
        made: list[Any] = []
        try:
            for _ in range(wanted + _TRIES):
                if len(made) >= wanted:
                    break
                part = fixed[len(made)] if len(made) < len(fixed) else items
                value = self.make(part, f"{place}[{len(made)}]", name.removesuffix("s"))
                if not (schema.get("uniqueItems") and value in made):
                    made.append(value)
        except NoSample:
            if least > len(made) or fixed:
                raise
        if len(made) < least:
            raise NoSample(f"{place}: {least} different items were not found")
        return made

    def __repr__(self) -> str:
        return f"<Maker with {len(self._definitions)} definitions, within {' > '.join(self._open) or 'none'}>"


def _merged(schema: Schema) -> Schema:
    """A schema without `allOf`: its parts put together, so far as they say different things."""
    if not (parts := schema.get("allOf")):
        return schema
    whole = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        whole = {**_merged(part), **whole}
    return whole


def _given(schema: Schema) -> list[Any]:
    """The values that the schema itself names: one of them is taken."""
    if isinstance(examples := schema.get("examples"), list) and examples:
        return examples
    for key in ("example", "const"):
        if key in schema:
            return [schema[key]]
    if "enum" in schema:
        return list(schema["enum"])
    default = schema.get("default")  # of an optional list or model what could be in it says more
    return [default] if isinstance(default, str | int | float) else []


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"
