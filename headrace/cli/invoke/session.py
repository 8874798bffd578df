"""One invocation in a worker, from the target to the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.cli.invoke.event import Asked, subject_of
from headrace.cli.invoke.outcome import document_of
from headrace.cli.invoke.watch import Watch
from headrace.compose import worker_spec, workshop
from headrace.functions.errors import TargetError
from headrace.functions.names import meant
from headrace.runtime.settings import Settings
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Outlet


async def invoke(settings: Settings, folder: Path, name: str, asked: Asked) -> dict[str, Any]:
    """Run the function once; the result as `invoke --json` prints it. Raises for what the user is to mend."""
    async with workshop(settings, folder) as shop:
        spec = _find(shop.manifest.functions, name)
        subject = await subject_of(asked, shop, spec, settings, folder)
        one_each = dict.fromkeys(spec.emits, Outlet(1))
        watch = Watch(spec)
        worker = await shop.zygote.spawn(worker_spec(shop, spec, subject.cluster, one_each), watch)
        started = time.perf_counter()
        worker.send(subject.chunk)
        outcome = await watch.outcome
        duration_ms = (time.perf_counter() - started) * 1000
        await worker.stop(5.0)
    return {**subject.told, **document_of(outcome), "logs": watch.logs, "duration_ms": round(duration_ms, 3)}


def _find(functions: Sequence[FunctionSpec], name: str) -> FunctionSpec:
    for spec in functions:
        if spec.name == name:
            return spec
    names = [spec.name for spec in functions]
    raise TargetError(f"no function is named {name!r}{meant(name, names)}; the target has: {', '.join(names)}")
