"""Loads one after another, and what is found in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec
import pytest

from headrace.cli.dev import loads as module
from headrace.cli.dev.code import compared
from headrace.cli.dev.loads import Loads
from headrace.cli.dev.scope import Kind
from headrace.cli.dev.settling import Found, Settling
from headrace.sandbox.manifest import BatchPolicy, FunctionSpec, Grants, Manifest, RetryPolicy

GRANTS = Grants(0, None, "none", False, {}, [], [], False, 0, True)
RETRY = RetryPolicy(3, 1.0, 2.0, 60.0, "none", None)


def function(name: str, **changes: object) -> FunctionSpec:
    spec = FunctionSpec(
        name=name,
        topics=["orders"],
        emits={},
        types=[],
        file="/f.py",
        line=1,
        doc="",
        is_async=False,
        retry=[RETRY],
        timeout=30.0,
        order="key",
        concurrency=1,
        workers=(0, 1),
        idle=60.0,
        unmatched="skip",
        guarantee="at-least-once",
        dead_letter=None,
        discard=None,
        max_hops=16,
        start=None,
        grants=GRANTS,
        explicit=[],
        schema=None,
    )
    return msgspec.structs.replace(spec, **changes)


SERVED = Manifest([function("a"), function("b")], "code")


@pytest.mark.parametrize(
    ("functions", "code", "kinds", "found"),
    [
        (SERVED.functions, "code", {Kind.SETTINGS}, Found.SAME),
        (SERVED.functions, "code", set(), Found.SAME),
        (SERVED.functions, "code", {Kind.CODE}, Found.READY),  # a handler may import when it runs
        (SERVED.functions, "code", {Kind.INSTALLED}, Found.READY),
        (SERVED.functions, "other", set(), Found.READY),
        ([function("a", timeout=1.0), function("b")], "code", {Kind.SETTINGS}, Found.READY),
        ([*SERVED.functions, function("c")], "other", {Kind.CODE}, Found.READY),
        ([function("a")], "other", {Kind.CODE}, Found.DRASTIC),
        ([function("a"), function("c")], "other", {Kind.CODE}, Found.DRASTIC),
        ([function("a"), function("b", topics=["others"])], "other", {Kind.CODE}, Found.DRASTIC),
        ([function("a"), function("b", order="none")], "other", {Kind.CODE}, Found.DRASTIC),
        ([function("a"), function("b", guarantee="effectively-once")], "other", {Kind.CODE}, Found.DRASTIC),
        ([function("a"), function("b", batch=BatchPolicy(10, 0.5))], "other", {Kind.CODE}, Found.DRASTIC),
    ],
)
def test_what_is_found_beside_what_is_served(
    functions: list[FunctionSpec], code: str, kinds: set[Kind], found: Found
) -> None:
    assert compared(SERVED, Manifest(functions, code), kinds) is found


class Script:
    """Code whose loads find what is written down, each once it is let go on."""

    def __init__(self, *found: Found) -> None:
        self.found = list(found)
        self.done: asyncio.Queue[object] = asyncio.Queue()
        self.gates = [asyncio.Event() for _ in found]
        self.loading = asyncio.Event()
        self.kinds: list[AbstractSet[Kind]] = []
        self._under_way = 0

    async def load(self, kinds: AbstractSet[Kind]) -> Found:
        assert self._under_way == 0
        self._under_way += 1
        number = len(self.kinds)
        self.kinds.append(set(kinds))
        self.loading.set()
        try:
            await self.gates[number].wait()
        finally:
            self._under_way -= 1
        return self.found[number]

    async def serve(self) -> None:
        await self.done.put("served")

    def tell(self, found: Found) -> None:
        self.done.put_nowait(found)


async def played(script: Script, changes: Sequence[set[Kind]]) -> object:
    """The first change, the others while that is being loaded, then all loads; what follows from them."""
    loads = Loads(script, lambda: None, Settling(0.01))
    running = asyncio.ensure_future(loads.run())
    loads.changed(changes[0])
    await script.loading.wait()
    for kinds in changes[1:]:
        loads.changed(kinds)
    for gate in script.gates:
        gate.set()
    async with asyncio.timeout(60):
        done = await script.done.get()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert script.done.empty()
    return done


async def test_changes_during_a_load_cause_one_more_which_knows_of_all_of_them() -> None:
    script = Script(Found.READY, Found.READY)
    assert await played(script, [{Kind.CODE}, {Kind.SETTINGS}, {Kind.SETTINGS}]) == "served"
    assert script.kinds == [{Kind.CODE}, {Kind.CODE, Kind.SETTINGS}]


async def test_a_load_that_hangs_is_given_up_once_files_have_changed() -> None:
    script = Script(Found.READY, Found.READY)
    script.gates[1].set()
    loads = Loads(script, lambda: None, Settling(0.01))
    running = asyncio.ensure_future(loads.run())
    loads.changed({Kind.CODE})
    await script.loading.wait()
    loads.changed({Kind.SETTINGS})
    async with asyncio.timeout(60):
        assert await script.done.get() == "served"
    assert script.kinds == [{Kind.CODE}, {Kind.CODE, Kind.SETTINGS}]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_load_that_takes_long_is_told_once_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LONG_S", "_SLOW_S", "_LOOK_S"):
        monkeypatch.setattr(module, name, 0.01)
    script, told = Script(Found.READY), []

    def slow() -> None:
        told.append("slow")
        asyncio.get_running_loop().call_later(0.1, script.gates[0].set)

    loads = Loads(script, slow, Settling(0.01))
    running = asyncio.ensure_future(loads.run())
    loads.changed({Kind.CODE})
    async with asyncio.timeout(60):
        assert await script.done.get() == "served"
    assert told == ["slow"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_broken_for_a_moment_is_not_told() -> None:
    script = Script(Found.BROKEN, Found.READY)
    assert await played(script, [{Kind.CODE}]) == "served"


async def test_what_stays_broken_is_told_after_a_second_look() -> None:
    script = Script(Found.BROKEN, Found.BROKEN)
    assert await played(script, [{Kind.CODE}]) is Found.BROKEN
    assert len(script.kinds) == 2
