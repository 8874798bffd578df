"""The distributions that contenders need: which are installed, and as what."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Sequence


def lacking(libraries: Iterable[str]) -> str | None:
    """The reason to leave out who needs these; None if all are installed."""
    for library in libraries:
        if _version(library) is None:
            return f"{library} is not installed; install the contenders: make bench, or pip install --group bench"
    return None


def versions(needed: Iterable[Sequence[str]]) -> dict[str, str]:
    """Of the libraries of all contenders."""
    names = sorted({library for libraries in needed for library in libraries} | {"pydantic"})
    return {name: _version(name) or "not installed" for name in names}


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
