"""CloudEvents 1.0 on records: the Kafka protocol binding, binary mode written and read, structured JSON mode read.

Source: CloudEvents "Kafka Protocol Binding" 1.0.2, sections 3.2 and 3.3. A record that says nothing of CloudEvents is
an ordinary event: its id is where it stands in the log. Header values are kept as bytes until asked for, because
foreign headers need not be text.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Header = tuple[str, bytes]

# CloudEvents demands a type. An event emitted without one carries this, and is read back as having none.
UNTYPED = "headrace.untyped"

STRUCTURED = b"application/cloudevents+json"
_VERSION: Header = ("ce_specversion", b"1.0")


class Malformed(ValueError):
    """A record claims to be a CloudEvent and is not readable as one."""


@dataclass(slots=True)
class Envelope:
    """A record's metadata, its attributes read as needed, and its data as bytes (None for a tombstone)."""

    attributes: dict[str, bytes]
    data: bytes | None
    place: str
    cluster: str
    _time: datetime | None = field(default=None, init=False)

    @property
    def id(self) -> str:
        """The event's id; for a record without one, `<topic>/<partition>/<offset>`."""
        return self._text("ce_id") or self.place

    @property
    def source(self) -> str:
        """What the id is unique in; for a record without one, the cluster's id."""
        return self._text("ce_source") or self.cluster

    @property
    def type(self) -> str | None:
        """The event's type, or None for an untyped one."""
        name = self._text("ce_type")
        return None if name == UNTYPED else name

    @property
    def subject(self) -> str | None:
        """The CloudEvents subject, if any."""
        return self._text("ce_subject")

    @property
    def root(self) -> str:
        """The id of the event this one's lineage began with; its own, if it has no cause."""
        return self._text("headrace-root") or self.id

    @property
    def hops(self) -> int:
        """How many handlers this event's lineage has been through."""
        text = self.attributes.get("headrace-hops", b"0")
        return int(text) if text.isdigit() and len(text) < 10 else 0

    def time(self, timestamp_ms: int) -> datetime:
        """When it happened: the event's own time, else the record's (`timestamp_ms`, milliseconds since 1970)."""
        if text := self._text("ce_time"):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                pass  # a foreign clock's spelling is no reason to refuse the event
            else:
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)

    def _text(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")


def read(headers: Iterable[Header], data: bytes | None, *, place: str, cluster: str) -> Envelope:
    """The envelope of a record. Raises `Malformed` for a structured-mode record that is not one."""
    attributes = dict(headers)
    if attributes.get("content-type", b"").startswith(STRUCTURED) and data is not None:
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
    """The headers of an event in binary mode."""
    headers = [
        _VERSION,
        ("ce_id", id.encode("utf-8", "surrogateescape")),
        ("ce_source", source.encode()),
        ("ce_type", (type or UNTYPED).encode()),
        ("ce_time", (time or datetime.now(UTC)).isoformat().encode()),
    ]
    if content_type is not None:
        headers.append(("content-type", content_type.encode()))
    return headers


def _structured(attributes: dict[str, bytes], data: bytes) -> tuple[dict[str, bytes], bytes | None]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise Malformed(f"content-type is {STRUCTURED.decode()}, but the value is not JSON: {error}") from error
    if not isinstance(document, dict) or "specversion" not in document:
        raise Malformed(f"content-type is {STRUCTURED.decode()}, but the value is no CloudEvents JSON object")
    payload = _payload(document)
    for name, value in document.items():
        if name not in {"data", "data_base64"} and value is not None:
            attributes[f"ce_{name}"] = (value if isinstance(value, str) else json.dumps(value)).encode()
    attributes["content-type"] = str(document.get("datacontenttype", "application/json")).encode()
    return attributes, payload


def _payload(document: dict[str, Any]) -> bytes | None:
    if "data_base64" in document:
        try:
            return base64.b64decode(document["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise Malformed(f"data_base64 is not base64: {error}") from error
    if document.get("data") is None:
        return None
    data, kind = document["data"], str(document.get("datacontenttype", "application/json"))
    if isinstance(data, str) and "json" not in kind:
        return data.encode()
    return json.dumps(data, separators=(",", ":")).encode()
