"""CloudEvents 1.0 on records: the Kafka protocol binding, binary mode written and read, structured JSON mode read.

Source: CloudEvents "Kafka Protocol Binding" 1.0.2, sections 3.2 and 3.3. A record that says nothing of CloudEvents is
an ordinary event: its id is where it stands in the log. Header values are kept as bytes until asked for, because
foreign headers need not be text.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from time import time_ns
from typing import Any

Header = tuple[str, bytes]
Place = tuple[str, int, int]
"""A topic, a partition number and an offset."""

# CloudEvents demands a type. An event emitted without one carries this, and is read back as having none.
UNTYPED = "headrace.untyped"

STRUCTURED = b"application/cloudevents+json"
_VERSION: Header = ("ce_specversion", b"1.0")

_TRACE = ("traceparent", "tracestate")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MS
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MS


class Malformed(ValueError):
    """A record claims to be a CloudEvent and is not readable as one."""


@dataclass(slots=True)
class Envelope:
    """A record's metadata, its attributes read as needed, and its data as bytes (None for a tombstone)."""

    attributes: dict[str, bytes]
    data: bytes | None
    place: Place
    cluster: str
    _id: str | None = field(default=None, init=False)

    @property
    def id(self) -> str:
        """The event's id; for a record without one, `<topic>/<partition>/<offset>`."""
        if self._id is None:
            self._id = self._text("ce_id") or "/".join(map(str, self.place))
        return self._id

    @property
    def source(self) -> str:
        """What the id is unique in; for a record without one, the cluster's id."""
        return self._text("ce_source") or self.cluster

    @property
    def type(self) -> str | None:
        """The event's type, or None for an untyped one."""
        name = self._text("ce_type")
        return None if not name or name == UNTYPED else name

    @property
    def subject(self) -> str | None:
        """The CloudEvents subject, if any."""
        return self._text("ce_subject")

    @property
    def root(self) -> str:
        """The id of the event this one's lineage began with; its own, if it has no cause."""
        return self._text("headrace-root") or self.id

    @property
    def lineage(self) -> list[Header]:
        """The headers that an event emitted while this one is handled carries of it: cause, root, hops, trace."""
        attributes = self.attributes
        cause = attributes.get("ce_id") or self.id.encode("utf-8", "surrogateescape")
        lineage = [
            ("headrace-cause", cause),
            ("headrace-root", attributes.get("headrace-root") or cause),
            ("headrace-hops", b"%d" % (self.hops + 1)),
        ]
        for name in _TRACE:
            if name in attributes:
                lineage.append((name, attributes[name]))  # noqa: PERF401  (there are two, and most events have none)
        return lineage

    @property
    def hops(self) -> int:
        """How many handlers this event's lineage has been through."""
        text = self.attributes.get("headrace-hops")
        return int(text) if text is not None and text.isdigit() and len(text) < 10 else 0

    def time(self, timestamp_ms: int) -> datetime:
        """When it happened: the event's own time, else the record's (`timestamp_ms`, milliseconds since 1970).

        A record's time beyond what `datetime` can hold (a producer that counts microseconds) is cut to its end.
        """
        if text := self._text("ce_time"):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                pass  # a foreign clock's spelling is no reason to refuse the event
            else:
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _EPOCH + timedelta(milliseconds=max(_FIRST_MS, min(timestamp_ms, _LAST_MS)))

    def _text(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")


def read(attributes: dict[str, bytes], data: bytes | None, place: Place, cluster: str) -> Envelope:
    """The envelope of a record with these headers. Raises `Malformed` for a structured-mode record that is not one."""
    content_type = attributes.get("content-type")
    if content_type is not None and data is not None and content_type.lower().startswith(STRUCTURED):
        attributes, data = _structured(attributes, data)
    return Envelope(attributes, data, place, cluster)


def write(
    *,
    id: str,  # noqa: A002  (the attribute's name)
    source: str,
    type: str | None,  # noqa: A002
    content_type: str | None,
    time: datetime | None = None,
) -> list[Header]:
    """The headers of an event in binary mode. A `time` without a zone is UTC, as it is when read."""
    own_source, own_type, content = _repeated(source, type, content_type)
    moment = _now() if time is None else (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat().encode()
    id_ = ("ce_id", _text(id))
    return [_VERSION, id_, own_source, own_type, ("ce_time", moment), *content]


def _now() -> bytes:
    seconds, ns = divmod(time_ns(), 1_000_000_000)
    return b"%s.%06d+00:00" % (_second(seconds), ns // 1000)


@lru_cache(maxsize=2)
def _second(seconds: int) -> bytes:
    """All of a timestamp but its fraction: worth keeping, as it is half the cost of an event's headers."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(maxsize=4096)
def _repeated(source: str, type_: str | None, content_type: str | None) -> tuple[Header, Header, list[Header]]:
    """The headers that come again and again: source, type, and the content type if there is one."""
    content: list[Header] = [] if content_type is None else [("content-type", _text(content_type))]
    return ("ce_source", _text(source)), ("ce_type", _text(type_ or UNTYPED)), content


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _structured(headers: dict[str, bytes], value: bytes) -> tuple[dict[str, bytes], bytes | None]:
    try:
        document = json.loads(value)
        if isinstance(document, dict) and "specversion" in document:
            return _attributes(headers, document), _payload(document)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"content-type is {STRUCTURED.decode()}, but the value cannot be read: {error}") from error
    raise Malformed(f"content-type is {STRUCTURED.decode()}, but the value is no CloudEvents JSON object")


def _attributes(headers: dict[str, bytes], document: dict[str, Any]) -> dict[str, bytes]:
    attributes = dict(headers)
    for name, value in document.items():
        if name not in {"data", "data_base64"} and value is not None:
            attributes[f"ce_{name}"] = _utf8(value if isinstance(value, str) else json.dumps(value))
    attributes["content-type"] = _utf8(_content_type(document))
    return attributes


def _payload(document: dict[str, Any]) -> bytes | None:
    if (encoded := document.get("data_base64")) is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except TypeError as error:
            raise ValueError(f"data_base64 is a JSON {type(encoded).__name__}, not text") from error
    if (data := document.get("data")) is None:
        return None
    if isinstance(data, str) and "json" not in _content_type(document):
        return _utf8(data)
    return json.dumps(data, separators=(",", ":")).encode()


def _content_type(document: dict[str, Any]) -> str:
    return str(document.get("datacontenttype") or "application/json")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON can spell half a pair; refusing it is the reader's business
