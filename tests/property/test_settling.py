"""When code is loaded and what is done with it, against any order of changes and loads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.dev.settling import QUIET_S, Do, Found, Settling

STEPS = st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.1, QUIET_S / 2, QUIET_S, 1.0]), min_size=1, max_size=30)


@dataclass
class Load:
    began_s: float
    ended_s: float
    found: Found
    do: Do


def played(
    gaps: list[float], lasts: list[float], founds: list[Found], patient: list[bool]
) -> tuple[list[float], list[Load]]:
    """Changes at these distances, loads as soon as they are due, each lasting and finding what is drawn for it.

    Returns the changes and the loads.
    """
    settling, changes, loads = Settling(), [], []
    now, ahead = 0.0, []
    for gap in gaps:
        now += gap
        ahead.append(now)
    began_s = 0.0
    ends_s: float | None = None
    while ahead or ends_s is not None or settling.due_s is not None:
        moments = [m for m in (ahead[0] if ahead else None, ends_s, settling.due_s) if m is not None]
        now = min(moments)
        if ahead and ahead[0] == now:
            settling.changed(ahead.pop(0), patient=patient[len(changes) % len(patient)])
            changes.append(now)
        elif ends_s == now:
            found = founds[min(len(loads), len(founds) - 1)]
            do = settling.ended(now, found)
            loads.append(Load(began_s, now, found, do))
            ends_s = None
        else:
            assert ends_s is None, "two loads at once"
            settling.begin(now)
            began_s, ends_s = now, now + lasts[len(loads) % len(lasts)]
    return changes, loads


@given(
    STEPS,
    STEPS,
    st.lists(st.sampled_from(Found), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_whatever_happens_the_last_change_is_loaded_and_acted_upon(
    gaps: list[float], lasts: list[float], founds: list[Found], patient: list[bool]
) -> None:
    changes, loads = played(gaps, lasts, founds, patient)
    last = loads[-1]
    assert last.began_s >= changes[-1]
    assert last.do is not Do.WAIT
    for load in loads:
        changed_meanwhile = any(load.began_s < at <= load.ended_s for at in changes)
        before = max([at for at in changes if at <= load.began_s], default=0.0)
        if load.do is not Do.WAIT:
            assert not changed_meanwhile
        if load.do is Do.TELL or (load.do is Do.SERVE and load.found is Found.DRASTIC):
            assert load.began_s >= before + QUIET_S
        if load.do is Do.SERVE:
            assert load.found in {Found.READY, Found.DRASTIC}
        if load.do is Do.TELL:
            assert load.found is Found.BROKEN


@given(STEPS, STEPS)
def test_code_that_is_whole_is_loaded_the_moment_it_changes_and_served(gaps: list[float], lasts: list[float]) -> None:
    changes, loads = played(gaps, lasts, [Found.READY], [False])
    assert loads[0].began_s == changes[0]
    for before, load in pairwise(loads):
        due = [at for at in changes if before.began_s <= at]
        assert load.began_s == max(before.ended_s, due[0]) or load.began_s in changes
    assert len(loads) <= len(changes)


@given(STEPS, STEPS, st.sampled_from([Found.BROKEN, Found.DRASTIC]))
def test_what_looks_broken_or_gone_is_believed_once_and_only_after_quiet(
    gaps: list[float], lasts: list[float], found: Found
) -> None:
    changes, loads = played(gaps, lasts, [found], [False])
    acted = [load for load in loads if load.do is not Do.WAIT]
    bursts = 1 + sum(later - earlier > QUIET_S for earlier, later in pairwise(changes))
    assert 1 <= len(acted) <= bursts
    assert acted[-1].began_s >= changes[-1] + QUIET_S


def test_a_change_that_is_worth_waiting_for_is_not_loaded_at_once() -> None:
    settling = Settling()
    settling.changed(10.0, patient=True)
    assert settling.due_s == 10.0 + QUIET_S
    settling.changed(10.1)
    assert settling.due_s == 10.1 + QUIET_S


def test_many_changes_during_a_load_cause_one_more() -> None:
    settling = Settling()
    settling.changed(1.0)
    settling.begin(1.0)
    for at in (1.01, 1.02, 1.03):
        settling.changed(at)
        assert settling.due_s is None
    assert settling.ended(1.05, Found.READY) is Do.WAIT
    assert settling.due_s == 1.05
    settling.begin(1.05)
    assert settling.ended(1.1, Found.READY) is Do.SERVE
    assert settling.due_s is None
