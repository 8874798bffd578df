"""From the runs of all cases to medians, ratios and tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from _kafka_cases import COMPARED, GOALS, KINDS, LATENCY, Case


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of each run by case; the reasons by case."""

    runs: dict[str, list[dict[str, float]]]
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def versions(cases: Sequence[Case]) -> dict[str, str]:
    found = {}
    for library in sorted({library for case in cases for library in case.libraries} | {"pydantic"}):
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found


def document(cases: Sequence[Case], found: Measured, events: int) -> dict[str, Any]:
    medians = {name: _median(runs) for name, runs in found.runs.items() if runs and name not in found.failed}
    measured = [case for case in cases if case.name in medians]
    return {
        "events": events,
        "cases": {
            case.name: {
                "kind": case.kind, "settings": case.settings, "events": case.events(events),
                "median": medians[case.name], "runs": found.runs[case.name],
            }
            for case in measured
        },
        "skipped": found.skipped,
        "failed": found.failed,
        "goals": list(_goals(medians)),
        "versions": versions(cases),
        "machine": {
            "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(),
            "load": os.getloadavg()[0],
        },
    }  # fmt: skip


def _median(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in figures) for name in figures[0]}


def _goals(medians: dict[str, dict[str, float]]) -> Iterator[dict[str, Any]]:
    """`reached` is None where one of the two was not measured."""
    for goal in GOALS:
        reached = None
        if goal.case in medians and goal.than in medians:
            reached = round(medians[goal.case]["events_per_s"] / medians[goal.than]["events_per_s"], 2)
        yield {"case": goal.case, "than": goal.than, "goal": goal.times, "reached": reached}


def table(found: dict[str, Any]) -> Iterator[str]:
    """What is printed for people."""
    cases, machine = found["cases"], found["machine"]
    yield f"Kafka, {found['events']} events, {machine['cores']} cores, Python {machine['python']}, medians"
    for kind, about in KINDS.items():
        chosen = {name: case for name, case in cases.items() if case["kind"] == kind}
        if chosen:
            yield f"\n{kind}: {about}"
            yield from _latencies(chosen) if kind == LATENCY else _rates(chosen, COMPARED[kind])
    yield ""
    for goal in found["goals"]:
        yield f"goal: {goal['case']} >= {goal['goal']:g} x {goal['than']}: {_verdict(goal['goal'], goal['reached'])}"
    yield "\nsettings"
    yield from (f"  {name:<34} {case['events']:>7} events: {case['settings']}" for name, case in cases.items())
    for verdict in ("skipped", "failed"):
        yield from (f"  {name:<34} {verdict}: {reason}" for name, reason in found[verdict].items())
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def _verdict(goal: float, reached: float | None) -> str:
    if reached is None:
        return "not measured"
    return f"{reached} x, {'reached' if reached >= goal else 'NOT reached'}"


def _rates(cases: dict[str, Any], compared: str) -> Iterator[str]:
    ours = cases.get(compared, {}).get("median", {}).get("events_per_s")
    yield f"  {'':<34} {'events/s':>10} {'spread':>7} {'CPU us/event':>13} {'(children)':>10} {'MB':>6} {'headrace':>9}"
    for name, case in cases.items():
        one, rates = case["median"], [run["events_per_s"] for run in case["runs"]]
        spread = f"{(max(rates) - min(rates)) / one['events_per_s']:.0%}"
        ratio = f"{ours / one['events_per_s']:.2f} x" if ours else "-"
        yield (
            f"  {name:<34} {one['events_per_s']:>10,.0f} {spread:>7} {one['cpu_us']:>13.1f} "
            f"{one['child_cpu_us']:>10.1f} {one['peak_mb']:>6.0f} {ratio:>9}"
        )


def _latencies(cases: dict[str, Any]) -> Iterator[str]:
    yield f"  {'':<34} {'p50':>8} {'p90':>8} {'p99':>8} {'max':>8}"
    for name, case in cases.items():
        one = case["median"]
        yield f"  {name:<34} " + " ".join(f"{one[f'{q}_ms']:>8.2f}" for q in ("p50", "p90", "p99", "max"))
