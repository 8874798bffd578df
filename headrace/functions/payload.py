"""From a record's bytes to what the handler asked for: decoding and routing by type.

The annotation of the handler's first parameter decides (rule R6): models are chosen by the event's type; `dict`, `str`
and `bytes` take any type; a null value is skipped unless the annotation allows None.
"""

from __future__ import annotations

import importlib
import json
import operator
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema

from headrace.functions.codec import is_struct, type_name

Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Skip:
    """Not for this handler: `reason` is "type" (with the type's name) or "null"."""

    reason: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """For this handler, but not as it must be: wrong schema, broken JSON, a type `unmatched="reject"` refuses."""

    message: str


class BadAnnotation(ValueError):
    """The annotation is none that headrace can decode to."""


@dataclass(frozen=True)
class Payload:
    """How one handler's payload is decoded: by type name, untyped, and whether None is welcome."""

    models: dict[str, Decode]
    untyped: Decode
    any_type: bool
    nullable: bool
    batch: bool
    annotation: Any
    reject_unmatched: bool = False

    def decode(self, type_name: str | None, value: bytes | None) -> Any | Skip | Unfit:
        """The payload, or why there is none. `type_name` is the event's type, None if it has none."""
        if value is None:
            return None if self.nullable else Skip("null")
        decode = self.untyped
        if type_name is not None and not self.any_type:
            if (typed := self.models.get(type_name)) is None:
                return self._unmatched(type_name)
            decode = typed
        try:
            return decode(value)
        except ValidationError as error:
            return Unfit(explain(error))
        except (ValueError, RecursionError) as error:
            return Unfit(str(error) or type(error).__name__)

    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the payload; None for `str` and `bytes`.

        That of a union has a branch for each member, with the name of its type as title.
        """
        if self.annotation in {str, bytes}:
            return None
        members = members_of(self.annotation)
        if any(map(is_struct, members)):
            return _schema_with_structs(members)
        schema = TypeAdapter(self.annotation).json_schema()
        return _with_titles(schema, members) if len(members) > 1 else schema

    def _unmatched(self, name: str) -> Skip | Unfit:
        if self.reject_unmatched:
            return Unfit(f'type {name!r} is none of {", ".join(sorted(self.models))}, and unmatched="reject"')
        return Skip("type", name)


def payload_of(annotation: Any, *, reject_unmatched: bool = False) -> Payload:
    """How to decode for `annotation`. Raises `BadAnnotation`, saying what is allowed."""
    members, nullable = _members(annotation)
    batch = len(members) == 1 and get_origin(members[0]) is list
    if batch:
        members, nullable = _members(get_args(members[0])[0])
    if not members:
        raise BadAnnotation("None alone is no payload; say what the data is, for example Order | None")
    if len(members) == 1 and (raw := _RAW.get(get_origin(members[0]) or members[0])):
        return Payload({}, raw, True, nullable, batch, members[0], reject_unmatched)
    models = {type_name(model): _decoder(model) for model in members if _is_model(model)}
    if len(models) != len(members):
        raise BadAnnotation(_refusal(annotation, members))
    if odd := next((name for name in models if not _is_text(name)), None):
        raise BadAnnotation(f"event_type={odd!r} is not text that UTF-8 can write")
    untyped = next(iter(models.values())) if len(models) == 1 else _union(members)
    return Payload(models, untyped, False, nullable, batch, _union_of(members), reject_unmatched)


def _is_text(name: str) -> bool:
    return name.encode("utf-8", "ignore").decode() == name


def explain(error: ValidationError) -> str:
    """A validation error in one line: where and what, never the input itself (it may hold what no log should)."""
    parts = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        # A step with a bracket is pydantic's name for a branch it tried, `list[constrained-str]`: no place in the data.
        where = ".".join(str(step) for step in item["loc"] if "[" not in str(step))
        what = item["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {what}" if where else what)
    return "; ".join(parts)


def members_of(annotation: Any) -> list[Any]:
    """The members of a union, None left out; the annotation itself if it is no union."""
    return _members(annotation)[0]


def _members(annotation: Any) -> tuple[list[Any], bool]:
    annotation = getattr(annotation, "__value__", annotation)  # `type Orders = A | B`
    if get_origin(annotation) is typing.Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) not in {Union, types.UnionType}:
        return ([], True) if annotation in {None, type(None)} else ([annotation], False)
    inner = [_members(member) for member in get_args(annotation)]
    return [member for members, _ in inner for member in members], any(nullable for _, nullable in inner)


def _refusal(annotation: Any, members: list[Any]) -> str:
    names = [type_name(model) for model in members if _is_model(model)]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        return f'two models have the type name {repeated[0]!r}; tell them apart with event_type: ClassVar[str] = "…"'
    shown = getattr(annotation, "__name__", None) or str(annotation)
    return (
        f"a payload of {shown} cannot be decoded; it may be a pydantic model, a msgspec.Struct, a union of those, "
        "dict, str or bytes, each with '| None' if a null value is welcome"
    )


def _is_model(member: Any) -> bool:
    return is_struct(member) or (isinstance(member, type) and issubclass(member, BaseModel))


def _decoder(model: Any) -> Decode:
    if is_struct(model):
        decode: Decode = importlib.import_module("msgspec").json.Decoder(model).decode
        return decode
    validate: Decode = model.model_validate_json
    if validate.__func__ is BaseModel.model_validate_json.__func__ and model.__pydantic_complete__:  # type: ignore[attr-defined]
        validate = model.__pydantic_validator__.validate_json  # what the other does, without a frame around it
    return validate


def _union(members: list[Any]) -> Decode:
    if not any(map(is_struct, members)):
        adapter: TypeAdapter[Any] = TypeAdapter(_union_of(members))
        return adapter.validate_json
    decoders = [_decoder(member) for member in members]

    def first_that_fits(value: bytes) -> Any:
        problems = []
        for decode in decoders:
            try:
                return decode(value)
            except ValueError as error:
                problems.append(explain(error) if isinstance(error, ValidationError) else str(error))
        raise ValueError(" / ".join(problems))

    return first_that_fits


def _schema_with_structs(members: list[Any]) -> dict[str, Any]:
    structs = [member for member in members if is_struct(member)]
    models: list[tuple[Any, Literal["validation"]]] = [(m, "validation") for m in members if not is_struct(m)]
    references, definitions = importlib.import_module("msgspec").json.schema_components(
        structs, ref_template="#/$defs/{name}"
    )
    by_model, document = models_json_schema(models)
    schema = {
        "anyOf": [*references, *by_model.values()],
        "$defs": {**definitions, **document.get("$defs", {})},
    }
    return _with_titles(schema, [*structs, *(model for model, _ in models)]) if len(members) > 1 else schema


def _with_titles(schema: dict[str, Any], members: list[Any]) -> dict[str, Any]:
    branches = schema.get("anyOf", [])
    if len(branches) != len(members):  # a model whose schema is of its own making
        return schema
    titled = [{**branch, "title": type_name(model)} for branch, model in zip(branches, members, strict=True)]
    return {**schema, "anyOf": titled}


def _union_of(members: list[Any]) -> Any:
    return reduce(operator.or_, members)


def _dict(value: bytes) -> dict[str, Any]:
    document = json.loads(value)
    if not isinstance(document, dict):
        raise ValueError(f"the data is a JSON {type(document).__name__}, not an object")  # noqa: TRY004
    return typing.cast("dict[str, Any]", document)


_RAW: dict[Any, Decode] = {dict: _dict, str: lambda value: value.decode(), bytes: lambda value: value}
