"""From the runs of all cases to medians, ratios and tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from _queues_cases import CONTENDERS, GOALS, HEADRACE, KINDS, LOG, NO_OP, Case
from _queues_redis import ALWAYS, DEFAULT, DURABILITY


@dataclass(slots=True)
class Measured:
    """The figures of each run by case; the reasons by case; the machine's load before each round of runs."""

    runs: dict[str, list[dict[str, float]]]
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)


def document(cases: Sequence[Case], found: Measured, events: int) -> dict[str, Any]:
    medians = {name: _median(runs) for name, runs in found.runs.items() if runs and name not in found.failed}
    measured = {
        case.name: {
            "contender": case.contender.name,
            "kind": case.kind,
            "processes": case.processes,
            "durability": case.durability,
            "tasks": case.tasks(events),
            "median": medians[case.name],
            "ratios": _ratios(case, found.runs),
            "runs": found.runs[case.name],
        }
        for case in cases
        if case.name in medians
    }
    return {
        "events": events,
        "cases": measured,
        "skipped": found.skipped,
        "failed": found.failed,
        "goals": list(_goals(measured)),
        "versions": _versions(),
        "machine": {
            "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(),
            "loads": found.loads,
        },
    }  # fmt: skip


def _median(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in figures) for name in figures[0]}


def _ratios(case: Case, runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """headrace with as many processes to this one: median rates, best rates; and CPU, this one's to headrace's."""
    theirs, ours = runs[case.name], runs.get(Case(HEADRACE, case.kind, case.processes, LOG).name)
    if not ours:
        return {}
    rates, our_rates = ([one["tasks_per_s"] for one in each] for each in (theirs, ours))
    return {
        "median": statistics.median(our_rates) / statistics.median(rates),
        "best": max(our_rates) / max(rates),
        "cpu": _cpu(theirs) / _cpu(ours),
    }


def _cpu(runs: Sequence[dict[str, float]]) -> float:
    return statistics.median(one["cpu_us"] + one.get("redis_cpu_us", 0.0) for one in runs)


def _goals(cases: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`reached`, and `best` of the best runs, are None where one of the two was not measured."""
    for contender in CONTENDERS:
        for durability in (DEFAULT, ALWAYS) if contender.name in GOALS else ():
            than = Case(contender, NO_OP, 1, durability).name
            ratios = cases.get(than, {}).get("ratios", {})
            goal = {"case": HEADRACE.name, "than": than, "goal": GOALS[contender.name]}
            yield goal | {"reached": ratios.get("median"), "best": ratios.get("best")}


def _versions() -> dict[str, str]:
    found = {}
    for library in sorted({library for one in CONTENDERS for library in one.libraries} | {"pydantic"}):
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found


def table(found: dict[str, Any]) -> Iterator[str]:
    """What is printed for people."""
    machine, loads = found["machine"], found["machine"]["loads"]
    yield f"Task queues, {machine['cores']} cores, Python {machine['python']}, medians of {len(loads)} runs"
    yield "load of the machine before each run: " + ", ".join(f"{load:.1f}" for load in loads)
    for kind, about in KINDS.items():
        for processes in (1, 2, 8):
            group = [one for one in found["cases"].values() if (one["kind"], one["processes"]) == (kind, processes)]
            if group:
                yield f"\n{kind}, worker processes: {processes} ({about})"
                yield from _rates(group)
    yield ""
    for goal in found["goals"]:
        yield f"goal: {goal['case']} >= {goal['goal']:g} x {goal['than']}: {_verdict(goal)}"
    yield "\nsettings"
    yield from (f"  {name:<22} {' '.join(options)}" for name, options in DURABILITY.items())
    yield from (f"  {contender.name:<22} {contender.settings}" for contender in CONTENDERS)
    for verdict in ("skipped", "failed"):
        yield from (f"  {name}: {verdict}: {reason}" for name, reason in found[verdict].items())
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def _verdict(goal: dict[str, Any]) -> str:
    if goal["reached"] is None:
        return "not measured"
    verdict = "reached" if goal["reached"] >= goal["goal"] else "NOT reached"
    return f"{goal['reached']:.1f} x, {verdict} (best runs: {goal['best']:.1f} x)"


def _rates(group: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"  {'':<76} {'headrace to it':>26}"
    yield (
        f"  {'':<22} {'Redis':<8} {'tasks':>6} {'tasks/s':>8} {'spread':>7} {'CPU us/task':>12} {'(Redis)':>8} "
        f"{'MB':>5} {'median':>8} {'best':>8} {'CPU':>8}"
    )
    yield from (_row(case) for case in group)


def _row(case: dict[str, Any]) -> str:
    one, rates = case["median"], [run["tasks_per_s"] for run in case["runs"]]
    spread = f"{(max(rates) - min(rates)) / one['tasks_per_s']:.0%}"
    redis = f"{one['redis_cpu_us']:.0f}" if "redis_cpu_us" in one else "-"
    where = "-" if case["durability"] == LOG else case["durability"]
    ratios = " ".join(
        f"{case['ratios'][name]:>6.2f} x" if case["ratios"] else "-" for name in ("median", "best", "cpu")
    )
    return (
        f"  {case['contender']:<22} {where:<8} {case['tasks']:>6} {one['tasks_per_s']:>8,.0f} {spread:>7} "
        f"{one['cpu_us']:>12.1f} {redis:>8} {one['peak_mb']:>5.0f} {ratios}"
    )
