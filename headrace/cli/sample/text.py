"""Plausible text: by format, by pattern, by the property's name."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from headrace.cli.sample.failure import NoSample
from headrace.cli.sample.pattern import matching

_PEOPLE = ("Ada Lovelace", "Alan Turing", "Grace Hopper", "Katherine Johnson", "Edsger Dijkstra")
_BEGIN = datetime(2025, 1, 1, tzinfo=UTC)

Draw = Callable[[Random], str]


def text(schema: Mapping[str, Any], place: str, name: str, draw: Random) -> str:
    """Text for a property of this name. Raises `NoSample`, naming the place, if what the schema asks is not known."""
    made = _made(schema, place, name, draw)
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" not in schema and "format" not in schema:
        made = made[:most].ljust(least, "x")
    if len(made) < least or (most is not None and len(made) > most):
        raise _unknown(place, f"text of {least} to {most if most is not None else 'any number of'} characters")
    return made


def _made(schema: Mapping[str, Any], place: str, name: str, draw: Random) -> str:
    if (pattern := schema.get("pattern")) is not None:
        length = range(schema.get("minLength", 0), schema.get("maxLength", 1 << 16) + 1)
        if (found := matching(pattern, length, draw, guess=_by_name(name, draw))) is None:
            raise _unknown(place, f"text that matches {pattern!r}")
        return found
    kind = schema.get("format") or schema.get("contentEncoding")
    if kind is None:
        return _by_name(name, draw)
    if (make := _FORMATS.get(kind)) is None:
        raise _unknown(place, f"text of the format {kind!r}")
    return make(draw)


def _unknown(place: str, what: str) -> NoSample:
    where = place or "the data"
    return NoSample(f'{where} has to be {what}, which cannot be made up; give it one: Field(examples=["…"])')


# -- by format ----------------------------------------------------------------------------------------------------


def _moment(draw: Random) -> datetime:
    return _BEGIN + timedelta(seconds=draw.randrange(365 * 86_400))


def _uuid(version: int) -> Draw:
    return lambda draw: str(uuid.UUID(int=draw.getrandbits(128), version=version))


def _one(*choices: str) -> Draw:
    return lambda draw: draw.choice(choices)


def _email(draw: Random) -> str:
    return f"{draw.choice(_PEOPLE).split()[0].lower()}@example.com"


_FORMATS: dict[str, Draw] = {
    "date-time": lambda draw: _moment(draw).isoformat().replace("+00:00", "Z"),
    "date": lambda draw: _moment(draw).date().isoformat(),
    "time": lambda draw: _moment(draw).time().isoformat(),
    "duration": lambda draw: f"PT{draw.randint(1, 59)}M",
    "uuid": _uuid(4),
    **{f"uuid{version}": _uuid(version) for version in (1, 3, 4, 5, 6, 7, 8)},
    "email": _email,
    "idn-email": _email,
    "name-email": lambda draw: f"Ada Lovelace <{_email(draw)}>",
    "uri": lambda draw: f"https://example.com/{draw.randint(1000, 9999)}",
    "multi-host-uri": _one("https://example.com/"),
    "hostname": _one("example.com", "www.example.com"),
    "ipv4": lambda draw: f"192.0.2.{draw.randint(1, 254)}",
    "ipv6": lambda draw: f"2001:db8::{draw.randint(1, 9999)}",
    "ipv4network": _one("192.0.2.0/24"),
    "ipv6network": _one("2001:db8::/32"),
    "ipv4interface": lambda draw: f"192.0.2.{draw.randint(1, 254)}/24",
    "ipv6interface": lambda draw: f"2001:db8::{draw.randint(1, 9999)}/32",
    "ipvanyaddress": lambda draw: f"192.0.2.{draw.randint(1, 254)}",
    "ipvanynetwork": _one("192.0.2.0/24"),
    "ipvanyinterface": _one("192.0.2.1/24"),
    "decimal": lambda draw: f"{draw.randint(5, 99)}.{draw.choice((49, 90, 99))}",
    "binary": _one("sample"),
    "password": lambda draw: f"secret-{draw.randint(1000, 9999)}",
    "base64": _one(base64.b64encode(b"a sample").decode()),
    "base64url": _one(base64.urlsafe_b64encode(b"a sample").decode()),
    "byte": _one(base64.b64encode(b"a sample").decode()),
    "path": _one("folder/file.txt"),
    "directory-path": _one("/"),
    "regex": _one("^a+$"),
    "json-string": _one("{}"),
    "color": _one("#1e90ff", "#2e8b57", "#ff7f50"),
    "json-pointer": _one("/a/b"),
    "phone": _one("+442079460958"),
}


# -- by name ------------------------------------------------------------------------------------------------------

_NAMES: tuple[tuple[re.Pattern[str], Draw], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), make)
    for pattern, make in (
        (r"e?mail", _email),
        (r"(^|_)(first|given)_?name", lambda draw: draw.choice(_PEOPLE).split()[0]),
        (r"(^|_)(last|family|sur)_?name", lambda draw: draw.choice(_PEOPLE).split()[1]),
        (r"file_?name", _one("report.pdf", "photo.jpg")),
        (r"^name$|customer$|user$|person$|author$|full_?name|user_?name", _one(*_PEOPLE)),
        (r"currency", _one("EUR", "USD", "GBP")),
        (r"country", _one("DE", "FR", "US", "JP")),
        (r"city", _one("Lisbon", "Oslo", "Turin", "Kyoto")),
        (r"street|address", lambda draw: f"{draw.randint(1, 99)} Mill Lane"),
        (r"zip|post_?code|postal", lambda draw: f"{draw.randint(10_000, 99_999)}"),
        (r"phone", lambda draw: f"+4420794600{draw.randint(10, 99)}"),
        (r"ur[il]$|link$|website", _FORMATS["uri"]),
        # Also what a struct's moment is called: its schema does not say that it is one.
        (r"_at$|timestamp|date_?time|^(when|created|updated|since|until)$", _FORMATS["date-time"]),
        (r"date$|_on$|day$", _FORMATS["date"]),
        (r"status|state$", _one("open", "done")),
        (r"price|total|amount", _FORMATS["decimal"]),
        (r"text|message|note|comment|description|reason|title|subject|body", _one("A sample", "Just a sample")),
    )
)


def _by_name(name: str, draw: Random) -> str:
    for pattern, make in _NAMES:
        if pattern.search(name):
            return make(draw)
    stem = re.sub(r"_?id$|Id$", "", name).strip("_").replace("_", "-") or name or "sample"
    return f"{stem}-{draw.randint(1000, 9999)}"
