"""What a benchmark has measured, and what its report says in the same words as the others."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from _libraries import versions

R = TypeVar("R")
Figures = dict[str, float]


@dataclass(slots=True)
class Measured(Generic[R]):
    """The runs by who was measured; the reasons by who was not; the machine's load before each round, if noted."""

    runs: dict[str, list[R]]
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)

    def surroundings(
        self, goals: Iterable[dict[str, Any]], needed: Iterable[Sequence[str]], **load: Any
    ) -> dict[str, Any]:
        """What a document has beside figures. `needed`: the libraries of each contender; `load`: the machine's."""
        return {
            "skipped": self.skipped,
            "failed": self.failed,
            "goals": list(goals),
            "versions": versions(needed),
            "machine": {
                "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(),
                **load,
            },
        }  # fmt: skip


def medians(found: Measured[Figures]) -> dict[str, Figures]:
    """Of all runs of those that did not fail."""
    return {
        name: {figure: statistics.median(one[figure] for one in runs) for figure in runs[0]}
        for name, runs in found.runs.items()
        if runs and name not in found.failed
    }


def spread(rates: Sequence[float]) -> str:
    """How far apart the runs are, in a table."""
    return f"{(max(rates) - min(rates)) / statistics.median(rates):.0%}"


def loads(found: dict[str, Any]) -> str:
    """A line of a report."""
    return "load of the machine before each run: " + ", ".join(f"{load:.1f}" for load in found["machine"]["loads"])


def ending(found: dict[str, Any], label: str) -> Iterator[str]:
    """The last lines of a report: who was not measured, labelled like that, and the versions of all."""
    for verdict in ("skipped", "failed"):
        yield from (f"  {label.format(name)} {verdict}: {reason}" for name, reason in found[verdict].items())
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
