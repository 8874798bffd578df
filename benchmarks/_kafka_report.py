"""From the runs of all cases to medians, ratios and tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from _kafka_cases import COMPARED, GOALS, KINDS, LATENCY, Case
from _results import Figures, Measured, ending, medians, spread


def document(cases: Sequence[Case], found: Measured[Figures], events: int) -> dict[str, Any]:
    figures = medians(found)
    measured = [case for case in cases if case.name in figures]
    return {
        "events": events,
        "cases": {
            case.name: {
                "kind": case.kind, "settings": case.settings, "events": case.events(events),
                "median": figures[case.name], "runs": found.runs[case.name],
            }
            for case in measured
        },
        **found.surroundings(_goals(figures), [case.libraries for case in cases], load=os.getloadavg()[0]),
    }  # fmt: skip


def _goals(medians: dict[str, Figures]) -> Iterator[dict[str, Any]]:
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
    yield from ending(found, "{:<34}")


def _verdict(goal: float, reached: float | None) -> str:
    if reached is None:
        return "not measured"
    return f"{reached} x, {'reached' if reached >= goal else 'NOT reached'}"


def _rates(cases: dict[str, Any], compared: str) -> Iterator[str]:
    ours = cases.get(compared, {}).get("median", {}).get("events_per_s")
    yield f"  {'':<34} {'events/s':>10} {'spread':>7} {'CPU us/event':>13} {'(children)':>10} {'MB':>6} {'headrace':>9}"
    for name, case in cases.items():
        one, apart = case["median"], spread([run["events_per_s"] for run in case["runs"]])
        ratio = f"{ours / one['events_per_s']:.2f} x" if ours else "-"
        yield (
            f"  {name:<34} {one['events_per_s']:>10,.0f} {apart:>7} {one['cpu_us']:>13.1f} "
            f"{one['child_cpu_us']:>10.1f} {one['peak_mb']:>6.0f} {ratio:>9}"
        )


def _latencies(cases: dict[str, Any]) -> Iterator[str]:
    yield f"  {'':<34} {'p50':>8} {'p90':>8} {'p99':>8} {'max':>8}"
    for name, case in cases.items():
        one = case["median"]
        yield f"  {name:<34} " + " ".join(f"{one[f'{q}_ms']:>8.2f}" for q in ("p50", "p90", "p99", "max"))
