"""A selection of what is known by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")


def chosen(known: Mapping[str, T], names: Collection[str] | None) -> dict[str, T]:
    """All that is known, or those of `names` that are."""
    return {name: one for name, one in known.items() if names is None or name in names}
