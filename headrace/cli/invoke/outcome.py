"""How an invocation ended, as a document and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from headrace.cli.output import json_or_text, text_or_base64
from headrace.sandbox.outcome import (
    WORDS,
    Divided,
    Done,
    Emitted,
    Failure,
    NotRun,
    Outcome,
    Postponed,
    Skipped,
    failure_in,
)


def document_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as `invoke --json` prints it."""
    if isinstance(outcome, Done):
        return {"outcome": "done", "emitted": [_emitted(emit) for emit in outcome.emits], "error": None}
    if isinstance(outcome, Skipped):
        reason = f"{outcome.reason}: {outcome.type}" if outcome.type else outcome.reason
        return _ended("skipped", {"type": "Skipped", "message": reason})
    failure = failure_in(outcome)
    assert failure is not None
    if isinstance(outcome, Postponed | NotRun | Divided):  # nothing was raised, so there is no stack
        word = "failed" if isinstance(outcome, Postponed) else "crashed"
        return _ended(word, {"type": failure.type, "message": failure.message})
    return _ended(WORDS[type(outcome)], _failure(failure))


def _ended(outcome: str, error: dict[str, str]) -> dict[str, Any]:
    return {"outcome": outcome, "emitted": [], "error": error}


def _failure(failure: Failure) -> dict[str, str]:
    return {"type": failure.type, "message": failure.message, "stack": failure.stack}


def _emitted(emit: Emitted) -> dict[str, Any]:
    key = None if emit.key is None else text_or_base64(emit.key)
    return {"topic": emit.topic, "key": key, "type": emit.type, "data": json_or_text(emit.value)}


def print_told(told: Mapping[str, Any]) -> None:
    """Where the event is from, for people."""
    if (sample := told.get("sample")) is not None:
        type_ = f" of {sample['type']}" if sample["type"] else ""
        click.echo(f"sample{type_} {json.dumps(sample['data'], ensure_ascii=False)}")
    if (past := told.get("from")) is not None:
        _print_past(past)


def print_result(result: Mapping[str, Any]) -> None:
    """How it ended, for people."""
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


def _print_past(past: Mapping[str, Any]) -> None:
    click.echo(f"from {_place(past)}  id {past['id']}  key {past['key']}  {past['time']}")
    if (origin := past["origin"]) is not None:
        click.echo(f"  a copy of {_place(origin)} for {past['function']}, attempt {past['attempt']}")
    click.echo(f"  {past['type'] or 'no type'} {json.dumps(past['data'], ensure_ascii=False)}")


def _place(place: Mapping[str, Any]) -> str:
    return f"{place['topic']}/{place['partition']}/{place['offset']}"
