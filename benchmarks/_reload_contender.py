"""What a contender is, and the place it runs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from _reload_stream import Send


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run of a contender is: a folder for its code, what is beside it, and what nobody else has."""

    root: Path
    name: str
    port: int
    bootstrap: str

    @property
    def folder(self) -> Path:
        """Its code, and nothing that changes while it runs but that."""
        return self.root / "project"

    @property
    def pipe(self) -> Path:
        """Where handlers tell what they did."""
        return self.root / "outcomes"

    @property
    def said(self) -> Path:
        """What it prints on stdout."""
        return self.root / "said"

    @property
    def complaints(self) -> Path:
        """What it prints on stderr."""
        return self.root / "complaints"


class Contender(Protocol):
    """`handlers` is the file its handlers are in."""

    name: str
    libraries: Sequence[str]
    handlers: str
    on_kafka: bool
    settings: str

    def lacks(self) -> str | None:
        """Why it cannot be measured, beside libraries that are not installed."""
        ...

    def source(self, place: Place) -> str:
        """Its handlers, with {version} where that goes."""
        ...

    def command(self, place: Place) -> Sequence[str]:
        """What serves them, in the project's folder."""
        ...

    def feed(self, place: Place) -> AbstractAsyncContextManager[Send]:
        """What sends it one numbered event or request."""
        ...

    def told(self, place: Place) -> Sequence[Mapping[str, int]]:
        """What it says itself of each reload, in ns of the system's monotonic clock; nothing where it says nothing."""
        ...
