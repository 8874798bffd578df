"""Data to bytes: one encoding for handlers, producers and the command line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from pydantic import BaseModel

from headrace.functions.errors import EmitRefused

MAX_EVENT_BYTES = 1 << 20
MAX_HEADERS = 1000
MAX_HEADER_BYTES = 64 << 10

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"

# A second one of these would be read in place of ours, and the derived ids would mean nothing.
_IDENTITY = {"ce_specversion", "ce_id", "ce_source", "ce_type"}

HeadersIn = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class JsonText:
    """Data that is JSON text already, written as it is."""

    text: str


class Encoded(NamedTuple):
    """Data as it goes into a record: its bytes (None is a tombstone), its type name and its content type."""

    value: bytes | None
    type: str | None
    content_type: str | None


def type_name(cls: type) -> str:
    """The event type of a class: its `event_type` if it has one, else its name."""
    name = getattr(cls, "event_type", None)
    return name if isinstance(name, str) else cls.__name__


def is_struct(cls: object) -> bool:
    """Whether `cls` is a `msgspec.Struct` class; told without importing msgspec, which the user's code has if so."""
    return isinstance(cls, type) and hasattr(cls, "__struct_fields__")


def encode(data: object) -> Encoded:
    """`data` as bytes: models and structs by their own encoders, `bytes` as they are, `str` as UTF-8, else JSON.

    Raises `EmitRefused` for what has no encoding or is over `MAX_EVENT_BYTES`.
    """
    if data is None:
        return Encoded(None, None, None)
    form = _form_of(type(data))  # type: ignore[arg-type]
    try:
        value = form.write(data)
    except (TypeError, ValueError, RecursionError) as error:  # pydantic's and msgspec's own are ValueErrors
        raise EmitRefused(
            f"{_name(data)} cannot be written as JSON: {error}. "
            "Emit a pydantic model, a msgspec.Struct, a dict of plain values, str or bytes"
        ) from error
    if len(value) > MAX_EVENT_BYTES:
        raise EmitRefused(
            f"{_name(data)} is {len(value):,} bytes, over the limit of {MAX_EVENT_BYTES:,}: "
            "keep large content elsewhere and emit a reference to it"
        )
    return Encoded(value, form.type, form.content_type)


def encode_key(key: str | bytes | None) -> bytes | None:
    """A key as bytes; text as UTF-8, with surrogate escapes turned back into the bytes they stand for."""
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return encode_text("key", key)
    raise EmitRefused(f"key={key!r} is {_name(key)}: a key is text, bytes or None; convert it, for example with str()")


def encode_text(what: str, text: str) -> bytes:
    """`text` as UTF-8, with surrogate escapes turned back into the bytes they stand for.

    Raises `EmitRefused`, in which `what` names it.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise EmitRefused(f"{what} is not text that UTF-8 can write: {error}. Emit it as bytes") from error


def encode_headers(headers: HeadersIn | None) -> list[tuple[str, bytes]]:
    """User headers as pairs of text and bytes, in order. Raises `EmitRefused` for names headrace keeps for itself."""
    if not headers:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    encoded = [(_header_name(name), _header_value(name, value)) for name, value in pairs]
    size = sum(len(name.encode()) + len(value) for name, value in encoded)
    if len(encoded) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise EmitRefused(
            f"{len(encoded):,} headers of {size:,} bytes; an event may have {MAX_HEADERS:,} of {MAX_HEADER_BYTES:,} "
            "bytes in all: put what is data into the data"
        )
    return encoded


class _Form(NamedTuple):
    """How data of one class is written."""

    write: Callable[[Any], bytes]
    type: str | None
    content_type: str


@lru_cache(maxsize=1024)
def _form_of(cls: type) -> _Form:  # `isinstance` of a pydantic model costs more than encoding a small one
    if issubclass(cls, BaseModel):
        return _Form(_model_writer(cls), type_name(cls), JSON)
    if issubclass(cls, bytes):
        return _Form(bytes, None, BYTES)
    if issubclass(cls, str):
        return _Form(partial(encode_text, "the data"), None, TEXT)
    if issubclass(cls, JsonText):
        return _Form(_json_text, None, JSON)
    if is_struct(cls):
        return _Form(importlib.import_module("msgspec").json.encode, type_name(cls), JSON)
    return _Form(_plain_json, None, JSON)


def _model_writer(cls: type[BaseModel]) -> Callable[[Any], bytes]:
    """How models of a class are written: what `model_dump_json` does, but without its detour over text."""
    if cls.model_dump_json is BaseModel.model_dump_json and cls.__pydantic_complete__:
        return partial(cls.__pydantic_serializer__.to_json, by_alias=True)
    return _model_json  # it has a way of its own


def _model_json(model: BaseModel) -> bytes:
    return model.model_dump_json(by_alias=True).encode()


def _json_text(data: JsonText) -> bytes:
    return encode_text("the data", data.text)


def _plain_json(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _header_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise EmitRefused(f"header name {name!r} is not text")
    if name.startswith("headrace-"):
        raise EmitRefused(f"header {name!r}: names that begin with 'headrace-' are written by headrace itself")
    if name in _IDENTITY:
        raise EmitRefused(
            f"header {name!r} is the event's identity, written by headrace itself; for its type use type="
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise EmitRefused(f"header name {name!r} is not text that UTF-8 can write: {error}") from error
    return name


def _header_value(name: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return encode_text(f"header {name!r}", value)
    raise EmitRefused(f"header {name!r} is {_name(value)}: a header value is text or bytes")


def _name(value: object) -> str:
    return type(value).__qualname__
