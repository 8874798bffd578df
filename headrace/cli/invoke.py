"""`headrace invoke`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import click

from headrace.cli.options import event_options, json_option, parse_data, parse_headers, settings_from
from headrace.cli.output import json_or_text, print_json, text_or_base64

if TYPE_CHECKING:
    from headrace.runtime.settings import Settings
    from headrace.sandbox.manifest import FunctionSpec
    from headrace.sandbox.outcome import Emitted, Failure, Outcome
    from headrace.sandbox.process import Death, Line, Worker
    from headrace.sandbox.wire import Report, Task

_GOOD = ("done", "skipped")
_WORDS = {"Rejected": "rejected", "Failed": "failed", "TimedOut": "timed-out", "Crashed": "crashed"}


@click.command("invoke")
@click.argument("function", metavar="TARGET::NAME")
@click.argument("data", required=False)
@event_options
@json_option
def command(function: str, data: str | None, as_json: bool, **event: Any) -> int:
    """Run one function once with DATA (JSON, or '-' for stdin), in its sandbox, without a broker.

    Exits 0 if the event was done or skipped, else 1. Without a type the event is taken as what the function expects.
    """
    target, separator, name = function.rpartition("::")
    if not separator:
        raise click.UsageError(f"{function!r}: say which function, for example functions.py::confirm_order")
    payload = parse_data(sys.stdin.read() if data == "-" else data, raw=event["raw"], null=event["null"])
    task = _task(payload, event)
    result = asyncio.run(_invoke(settings_from(target=target or None), name, task))
    print_json(result) if as_json else _print(result)
    return 0 if result["outcome"] in _GOOD else 1


def _task(payload: Any, event: dict[str, Any]) -> Task:
    from headrace.functions import cloudevents  # noqa: PLC0415
    from headrace.functions.codec import encode, encode_headers, encode_key  # noqa: PLC0415
    from headrace.functions.identity import fresh_id  # noqa: PLC0415
    from headrace.sandbox.headers import pack  # noqa: PLC0415
    from headrace.sandbox.wire import Task  # noqa: PLC0415

    encoded = encode(payload)
    type_ = event["type_"] or encoded.type
    own = cloudevents.write(id=fresh_id(), source="/invoke", type=type_, content_type=encoded.content_type)
    headers = pack(own + encode_headers(parse_headers(event["headers"])))
    return Task(0, time.time_ns() // 1_000_000, encode_key(event["key"]), encoded.value, headers)


async def _invoke(settings: Settings, name: str, task: Task) -> dict[str, Any]:
    from headrace.compose import worker_spec, workshop  # noqa: PLC0415
    from headrace.sandbox.wire import Chunk, Outlet  # noqa: PLC0415

    async with workshop(settings, Path.cwd()) as shop:
        spec = _find(shop.manifest.functions, name)
        one_each = dict.fromkeys(spec.emits, Outlet(1))
        watch = _Watch(spec)
        worker = await shop.zygote.spawn(worker_spec(shop, spec, "invoke", one_each), watch)
        started = time.perf_counter()
        worker.send(Chunk(1, spec.topics[0], 0, [task]))
        outcome = await watch.outcome
        duration_ms = (time.perf_counter() - started) * 1000
        await worker.stop(5.0)
    return {**_document(outcome), "logs": watch.logs, "duration_ms": round(duration_ms, 3)}


def _find(functions: Sequence[FunctionSpec], name: str) -> FunctionSpec:
    from headrace.functions.errors import TargetError  # noqa: PLC0415

    for spec in functions:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in functions)
    raise TargetError(f"no function is named {name!r}; the target has: {known}")


class _Watch:
    """Waits for the one outcome, and keeps what the worker says."""

    def __init__(self, spec: FunctionSpec) -> None:
        self._spec = spec
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.logs: list[dict[str, Any]] = []

    def reported(self, _worker: Worker, report: Report) -> None:
        from headrace.sandbox.outcome import Done  # noqa: PLC0415

        if not self.outcome.done():
            self.outcome.set_result(report.outcomes[0] or Done())

    def died(self, _worker: Worker, death: Death) -> None:
        from headrace.runtime.blame import blame  # noqa: PLC0415
        from headrace.sandbox.outcome import Crashed, Failure  # noqa: PLC0415

        if not self.outcome.done():
            guilty = blame(death, death.running, self._spec).guilty
            unexplained = Crashed(Failure("WorkerCrashed", death.detail, "\n".join(death.output)))
            self.outcome.set_result(next(iter(guilty.values()), unexplained))

    def said(self, _worker: Worker, lines: Sequence[Line]) -> None:
        self.logs += [
            {"stream": line.stream, "text": line.text, "level": line.level, "fields": dict(line.fields or {})}
            for line in lines
        ]


def _document(outcome: Outcome) -> dict[str, Any]:
    from headrace.sandbox.outcome import (  # noqa: PLC0415
        Crashed,
        Divided,
        Done,
        Failed,
        NotRun,
        Postponed,
        Rejected,
        Skipped,
        TimedOut,
    )

    match outcome:
        case Done(emits):
            return {"outcome": "done", "emitted": [_emitted(emit) for emit in emits], "error": None}
        case Skipped(reason, type_):
            return _ended("skipped", {"type": "Skipped", "message": f"{reason}: {type_}" if type_ else reason})
        case Rejected(failure) | Failed(failure) | TimedOut(failure) | Crashed(failure):
            return _ended(_WORDS[type(outcome).__name__], _failure(failure))
        case Postponed(seconds):
            return _ended("failed", {"type": "RetryAfter", "message": f"asked to be tried again in {seconds:g} s"})
        case NotRun() | Divided():
            return _ended("crashed", {"type": "WorkerCrashed", "message": "the worker did not run the event"})
        case _:
            assert_never(outcome)


def _ended(outcome: str, error: dict[str, str]) -> dict[str, Any]:
    return {"outcome": outcome, "emitted": [], "error": error}


def _failure(failure: Failure) -> dict[str, str]:
    return {"type": failure.type, "message": failure.message, "stack": failure.stack}


def _emitted(emit: Emitted) -> dict[str, Any]:
    key = None if emit.key is None else text_or_base64(emit.key)
    return {"topic": emit.topic, "key": key, "type": emit.type, "data": json_or_text(emit.value)}


def _print(result: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    click.echo(f"{result['outcome']} in {result['duration_ms']:.1f} ms")
    for emit in result["emitted"]:
        click.echo(f"  emitted to {emit['topic']}: {emit['type'] or ''} {json.dumps(emit['data'], ensure_ascii=False)}")
    for line in result["logs"]:
        fields = " ".join(f"{name}={value!r}" for name, value in line["fields"].items())
        click.echo(f"  {line['stream']}: {line['text']} {fields}".rstrip())
    if (error := result["error"]) is not None:
        click.echo(f"  {error['type']}: {error['message']}")
        for line in error.get("stack", "").splitlines():
            click.echo(f"    {line}")
