"""Quantities as people write them: spans of time and numbers of bytes."""

from __future__ import annotations

import re

FOREVER = "forever"
UNLIMITED = "unlimited"

_SPANS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_MOST = 2.0**62
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)


def milliseconds_of(text: str) -> int:
    """The milliseconds of `30s`, `15m`, `12h`, `7d`, `2w`, `500ms`. Raises `ValueError` for anything else."""
    return round(_read(text, _SPANS_MS, "span of time: write a number and ms, s, m, h, d or w, for example 7d"))


def seconds_of(text: str) -> float:
    """The seconds of the same, or of a plain number of them. Raises `ValueError` for anything else."""
    return _read(text, {"": 1000, **_SPANS_MS}, "span of time: write seconds, or for example 90s, 5m, 2h, 7d") / 1000


def bytes_of(text: str) -> int:
    """The bytes of `500MB`, `10GB`, `64KiB`, or a plain number. Raises `ValueError` for anything else."""
    return round(_read(text, _SIZES, "size: write a number and B, KB, MB, GB or TB, for example 10GB or 64MiB"))


def _read(text: str, units: dict[str, int], expected: str) -> float:
    found = _WRITTEN.fullmatch(text)
    if found is None or (unit := units.get(found[2].lower())) is None:
        raise ValueError(f"{text!r} is no {expected}")
    if (number := float(found[1]) * unit) > _MOST:
        raise ValueError(f"{text!r} is too much: write less")
    return number
