"""From the edits of all runs to medians, ratios and tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _reload_contender import Contender
from _reload_outcomes import HANDLERS, HELPER, PARTS
from _reload_turns import Edit
from _results import Measured, ending, loads

GOAL_MS = 150.0
OURS = "headrace"
LOADING, IN_PLACE = "change seen, loading", "told that both functions have it"
_GRAIN_NS = 2_000_000  # times that a contender tells are rounded to a millisecond
ABOUT = {HANDLERS: "the file that the handlers are in", HELPER: "a module that it imports"}


@dataclass(slots=True)
class Run:
    """One run of a contender: its edits, what became of its events, what it says of its reloads."""

    edits: Sequence[Edit]
    counts: Mapping[str, int]
    told: Sequence[Mapping[str, int]]


def document(contenders: Sequence[Contender], found: Measured[Run]) -> dict[str, Any]:
    measured = {one.name: _contender(one, found.runs[one.name]) for one in contenders if found.runs[one.name]}
    return {
        "contenders": measured,
        **found.surroundings(
            [_goal(part, measured) for part in PARTS], [one.libraries for one in contenders], loads=found.loads
        ),
    }


def _contender(one: Contender, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "settings": one.settings,
        "parts": {part: _part(part, runs) for part in PARTS},
        **{name: sum(run.counts[name] for run in runs) for name in runs[0].counts},
    }


def _part(part: str, runs: Sequence[Run]) -> dict[str, Any]:
    edits = [[edit for edit in run.edits if edit.part == part] for run in runs]
    first = [edit.first_ms for each in edits for edit in each]
    both = [edit.both_ms for each in edits for edit in each]
    steps = [found for run in runs for edit in run.edits if edit.part == part and (found := steps_of(edit, run.told))]
    return {
        "first_ms": _spread(first),
        "both_ms": _spread(both),
        "run_medians_ms": [statistics.median(edit.first_ms for edit in each) for each in edits],
        "steps_ms": {name: _spread([one[name] for one in steps]) for name in (steps[0] if steps else ())},
        "edits": [{"first_ms": one, "both_ms": other} for one, other in zip(first, both, strict=True)],
    }


def steps_of(edit: Edit, told: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """What a contender told of this reload, beside its outcomes, in ms after the edit; nothing if it told nothing."""
    found = [one for one in told if edit.at_ns - _GRAIN_NS <= one["loading_ns"] <= edit.firsts_ns[-1]]
    if not found:
        return {}
    loading_ms, in_place_ms = ((found[-1][name] - edit.at_ns) / 1e6 for name in ("loading_ns", "in_place_ns"))
    return {LOADING: loading_ms, "first outcome": edit.first_ms, "both": edit.both_ms, IN_PLACE: in_place_ms}


def _spread(figures: Sequence[float]) -> dict[str, float]:
    ordered = sorted(figures)
    p90 = statistics.quantiles(ordered, n=10, method="inclusive")[-1] if len(ordered) > 1 else ordered[0]
    return {"median": statistics.median(ordered), "p90": p90, "worst": ordered[-1], "best": ordered[0]}


def _goal(part: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """`reached_ms` is None where it was not measured."""
    reached = measured[OURS]["parts"][part]["first_ms"]["median"] if OURS in measured else None
    return {"contender": OURS, "part": part, "goal_ms": GOAL_MS, "reached_ms": reached}


def table(found: dict[str, Any]) -> Iterator[str]:
    """What is printed for people."""
    machine, measured = found["machine"], found["contenders"]
    yield f"From rename(2) to the first outcome of new code, {machine['cores']} cores, Python {machine['python']}"
    yield loads(found)
    for part in PARTS if measured else ():
        yield f"\n{part}: {ABOUT[part]}"
        yield from _rows(part, measured)
    if measured:
        yield f"\n  {'':<12} {'events':>7} {'unanswered':>11} {'lost':>6} {'twice':>6}"
    for name, one in measured.items():
        yield f"  {name:<12} {one['events']:>7} {one['unanswered']:>11} {one['lost']:>6} {one['twice']:>6}"
    yield ""
    for goal in found["goals"]:
        yield f"goal: {goal['contender']}, {goal['part']}: median <= {goal['goal_ms']:g} ms: {_verdict(goal)}"
    yield "\nsettings"
    yield from (f"  {name:<12} {one['settings']}" for name, one in measured.items())
    yield from ending(found, "{:<12}")


def _rows(part: str, measured: Mapping[str, Any]) -> Iterator[str]:
    ours = measured[OURS]["parts"][part]["first_ms"]["median"] if OURS in measured else None
    yield f"  {'ms':<12} {'edits':>6} {'median':>8} {'p90':>8} {'worst':>8} {'best':>8} {'both':>8} {'to headrace':>12}"
    for name, one in measured.items():
        its = one["parts"][part]
        first = its["first_ms"]
        figures = " ".join(f"{first[q]:>8.0f}" for q in ("median", "p90", "worst", "best"))
        ratio = f"{first['median'] / ours:.1f} x" if ours else "-"
        yield f"  {name:<12} {len(its['edits']):>6} {figures} {its['both_ms']['median']:>8.0f} {ratio:>12}"
    for name, one in measured.items():
        if steps := one["parts"][part]["steps_ms"]:
            told = ", ".join(f"{step} {its['median']:.0f}" for step, its in steps.items())
            yield f"  {name}, medians in ms after the edit: {told}"


def _verdict(goal: dict[str, Any]) -> str:
    if goal["reached_ms"] is None:
        return "not measured"
    verdict = "reached" if goal["reached_ms"] <= goal["goal_ms"] else "NOT reached"
    return f"{goal['reached_ms']:.0f} ms, {verdict}"
