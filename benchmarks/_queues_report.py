"""From the runs of all cases to medians, ratios and tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from _queues_cases import CONTENDERS, GOALS, HEADRACE, KINDS, LOG, NO_OP, Case
from _queues_redis import ALWAYS, DEFAULT, DURABILITY
from _results import Figures, Measured, ending, loads, medians, spread


def document(cases: Sequence[Case], found: Measured[Figures], events: int) -> dict[str, Any]:
    figures = medians(found)
    measured = {
        case.name: {
            "contender": case.contender.name,
            "kind": case.kind,
            "processes": case.processes,
            "durability": case.durability,
            "tasks": case.tasks(events),
            "median": figures[case.name],
            "ratios": _ratios(case, found.runs),
            "runs": found.runs[case.name],
        }
        for case in cases
        if case.name in figures
    }
    return {
        "events": events,
        "cases": measured,
        **found.surroundings(_goals(measured), [one.libraries for one in CONTENDERS], loads=found.loads),
    }


def _ratios(case: Case, runs: dict[str, list[Figures]]) -> dict[str, float]:
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


def _cpu(runs: Sequence[Figures]) -> float:
    return statistics.median(one["cpu_us"] + one.get("redis_cpu_us", 0.0) for one in runs)


def _goals(cases: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`reached`, and `best` of the best runs, are None where one of the two was not measured."""
    for contender in CONTENDERS:
        for durability in (DEFAULT, ALWAYS) if contender.name in GOALS else ():
            than = Case(contender, NO_OP, 1, durability).name
            ratios = cases.get(than, {}).get("ratios", {})
            goal = {"case": HEADRACE.name, "than": than, "goal": GOALS[contender.name]}
            yield goal | {"reached": ratios.get("median"), "best": ratios.get("best")}


def table(found: dict[str, Any]) -> Iterator[str]:
    """What is printed for people."""
    machine = found["machine"]
    yield f"Task queues, {machine['cores']} cores, Python {machine['python']}, medians of {len(machine['loads'])} runs"
    yield loads(found)
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
    yield from ending(found, "{}:")


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
    one, apart = case["median"], spread([run["tasks_per_s"] for run in case["runs"]])
    redis = f"{one['redis_cpu_us']:.0f}" if "redis_cpu_us" in one else "-"
    where = "-" if case["durability"] == LOG else case["durability"]
    ratios = " ".join(
        f"{case['ratios'][name]:>6.2f} x" if case["ratios"] else "-" for name in ("median", "best", "cpu")
    )
    return (
        f"  {case['contender']:<22} {where:<8} {case['tasks']:>6} {one['tasks_per_s']:>8,.0f} {apart:>7} "
        f"{one['cpu_us']:>12.1f} {redis:>8} {one['peak_mb']:>5.0f} {ratios}"
    )
