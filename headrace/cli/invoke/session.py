"""One invocation in a worker, from the target to the result."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from headrace.cli.invoke.event import Asked, Subject, subject_of
from headrace.cli.invoke.outcome import document_of
from headrace.cli.output import say
from headrace.compose import Workshop, worker_spec, workshop
from headrace.functions.errors import TargetError
from headrace.functions.names import meant
from headrace.runtime.settings import Settings
from headrace.runtime.solo import Solo
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.process import Line, WorkerSpec
from headrace.sandbox.wire import Outlet

_NO_LIMIT = 30 * 86_400.0  # seconds
_GRACE = 5.0
_QUIT = "headrace.sandbox.debugger.DebuggerQuit"


async def invoke(
    settings: Settings,
    folder: Path,
    name: str,
    asked: Asked,
    *,
    tell: Callable[[Mapping[str, Any]], None],
    terminal: int | None = None,
) -> dict[str, Any]:
    """Run the function once; the result as `invoke --json` prints it. Raises for what the user is to mend.

    `tell` is told before what the result will say of where the event is from. With a `terminal` the function is
    debugged there, and no time limit is in force.
    """
    async with workshop(settings, folder) as shop:
        spec = _find(shop.manifest.functions, name)
        subject = await subject_of(asked, shop, spec, settings, folder)
        one_each = dict.fromkeys(spec.emits, Outlet(1))
        spec_of_worker = worker_spec(shop, spec, subject.cluster, one_each)
        tell(subject.told)
        if terminal is None:
            ended = await _run(shop, spec_of_worker, subject)
        else:
            ended = await _debug(shop, spec_of_worker, subject, terminal)
    return {**subject.told, **ended}


async def _run(shop: Workshop, spec: WorkerSpec, subject: Subject) -> dict[str, Any]:
    lines: list[Line] = []
    return await _outcome(Solo(shop.zygote, spec, lines.extend), subject, lines, _GRACE)


async def _debug(shop: Workshop, spec: WorkerSpec, subject: Subject, terminal: int) -> dict[str, Any]:
    function = msgspec.structs.replace(_function(spec), timeout=_NO_LIMIT, concurrency=1)
    # Without it lines could not be edited: it says how this terminal moves its cursor.
    environment = {"TERM": os.environ.get("TERM", "dumb"), **spec.environment}
    spec = replace(spec, function=function, environment=environment, terminal=terminal)
    say(f"debugging {function.name}: n(ext), s(tep), c(ontinue), p EXPRESSION, q(uit); h(elp) lists all")
    lines: list[Line] = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, shop.zygote.interrupt)
    try:
        ended = await _outcome(Solo(shop.zygote, spec, lines.extend, _NO_LIMIT), subject, lines, _NO_LIMIT)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if ended["error"] is not None and ended["error"]["type"] == _QUIT:
        ended["error"] = {"type": "DebuggerQuit", "message": ended["error"]["message"]}
    return ended


async def _outcome(solo: Solo, subject: Subject, lines: Sequence[Line], grace: float) -> dict[str, Any]:
    """How the event ended. `lines` is what `solo` tells what is printed."""
    await solo.start()
    started = time.perf_counter()
    outcome = await solo.run(subject.chunk)
    duration_ms = (time.perf_counter() - started) * 1000
    await solo.close(grace)
    logs = [
        {"stream": line.stream, "text": line.text, "level": line.level, "fields": dict(line.fields or {})}
        for line in lines
    ]
    return {**document_of(outcome), "logs": logs, "duration_ms": round(duration_ms, 3)}


def _function(spec: WorkerSpec) -> FunctionSpec:
    assert spec.function is not None
    return spec.function


def _find(functions: Sequence[FunctionSpec], name: str) -> FunctionSpec:
    for spec in functions:
        if spec.name == name:
            return spec
    names = [spec.name for spec in functions]
    raise TargetError(f"no function is named {name!r}{meant(name, names)}; the target has: {', '.join(names)}")
