"""What a handler emits: which topics it may publish to, which type goes where, and the buffer it fills.

Emits are encoded and checked when they are made, so that a refusal points at the line that made it and later changes
to the data do not matter. They are published only if the invocation succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

from headrace.functions import cloudevents
from headrace.functions.cloudevents import Envelope, Header
from headrace.functions.codec import HeadersIn, encode, encode_headers, encode_key, type_name
from headrace.functions.errors import EmitRefused
from headrace.functions.identity import derived_id


class Inherit(Enum):
    """The one value `INHERIT`: take the key of the event being handled."""

    KEY = "key"


INHERIT: Final = Inherit.KEY


class Emit(NamedTuple):
    """One event to publish: encoded, with its identity."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    id: str
    type: str | None


@dataclass(frozen=True)
class Routes:
    """Where returned values go: the declared topics, and the topic of each type. Built once per handler."""

    topics: tuple[str, ...]
    by_type: dict[type, str]
    fallback: str | None = None

    def topic_of(self, value: object) -> str:
        """The topic a returned value goes to. Raises `EmitRefused` if none takes its type."""
        for cls in type(value).__mro__:
            if (topic := self.by_type.get(cls)) is not None:
                return topic
        if self.fallback is not None:
            return self.fallback
        raise EmitRefused(
            f"returned a {type(value).__qualname__}, but no topic in emits takes it; "
            f'add it: emits={{"topic": {type_name(type(value))}}}, or return None'
        )


def routes_of(emits: str | Mapping[str, type | Sequence[type]] | None) -> Routes:
    """The routes of an `emits` option. Raises `ValueError` if one type has two topics."""
    if emits is None:
        return Routes((), {})
    if isinstance(emits, str):
        return Routes((emits,), {}, fallback=emits)
    by_type: dict[type, str] = {}
    for topic, declared in emits.items():
        for cls in [declared] if isinstance(declared, type) else declared:
            if by_type.setdefault(cls, topic) != topic:
                raise ValueError(
                    f"{cls.__name__} goes to {by_type[cls]!r} and to {topic!r}; a returned value goes to one topic, "
                    "emit to the other with ctx.emit()"
                )
    return Routes(tuple(emits), by_type)


class Cause(NamedTuple):
    """The event whose handling emits: identity, key and lineage are taken from it."""

    envelope: Envelope
    key: bytes | None


@dataclass(slots=True)
class Outbox:
    """The emits of one invocation, in the order they were made."""

    app: str
    function: str
    routes: Routes
    cause: Cause
    emits: list[Emit] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def emit(
        self,
        topic: str,
        data: object,
        *,
        key: str | bytes | Inherit | None = INHERIT,
        type: str | None = None,  # noqa: A002  (the attribute's name)
        headers: HeadersIn | None = None,
    ) -> None:
        """Buffer an event. Raises `EmitRefused` for an undeclared topic or data that cannot be written."""
        if topic not in self.routes.topics:
            declared = ", ".join(map(repr, self.routes.topics)) or "none"
            raise EmitRefused(
                f"topic {topic!r} is not declared; {self.function} may emit to: {declared}. Add it to emits="
            )
        encoded = encode(data)
        key_bytes = self.cause.key if key is INHERIT else encode_key(key)
        own_headers = encode_headers(headers)
        id_ = self._id(topic)  # last of what may fail: a refused emit that the handler survives takes no number
        type_ = type or encoded.type
        identity = cloudevents.write(
            id=id_, source=f"/{self.app}/{self.function}", type=type_, content_type=encoded.content_type
        )
        self.emits.append(
            Emit(topic, key_bytes, encoded.value, identity + self.cause.envelope.lineage + own_headers, id_, type_)
        )

    def returned(self, value: Any) -> None:
        """Emit what the handler returned: nothing, a model, or a list of them, each routed by its type."""
        if value is None:
            return
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                self.emit(self.routes.topic_of(item), item)

    def _id(self, topic: str) -> str:
        nth = self._numbers.get(topic, 0)
        self._numbers[topic] = nth + 1
        envelope = self.cause.envelope
        return derived_id(
            source=envelope.source, cause=envelope.id, app=self.app, function=self.function, topic=topic, nth=nth
        )
