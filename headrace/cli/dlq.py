"""`headrace dlq`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headrace.runtime.control import Control
    from headrace.runtime.letters import DeadLetter
    from headrace.runtime.ports import Store
    from headrace.runtime.settings import Settings
    from headrace.sandbox.manifest import FunctionSpec

F = TypeVar("F", bound=Callable[..., Any])
_COLUMNS = ("function", "count", "error_type", "first", "last", "fingerprint", "example")


class Selection(NamedTuple):
    """Which dead letters of a function: those with this fingerprint, of this event, or all."""

    fingerprint: str | None
    event: str | None
    every: bool

    def has(self, letter: DeadLetter) -> bool:
        """Whether a letter is selected."""
        if self.event is not None and letter.event_id != self.event:
            return False
        return self.fingerprint is None or letter.fingerprint == self.fingerprint


def _selection_options(function: F) -> F:
    for option in (
        click.option("--all", "every", is_flag=True, help="All open dead letters of the function."),
        click.option("--event", metavar="ID", help="Those of one event."),
        click.option("--fingerprint", metavar="F", help="Those that failed in the same way, as `dlq list` shows."),
    ):
        function = option(function)
    return function


@click.group("dlq")
def command() -> None:
    """Dead letters: what failed for good, and why."""


@command.command("list")
@click.argument("function", required=False)
@broker_option
@app_option
@json_option
def list_(function: str | None, as_json: bool, **shared: str | None) -> int:
    """Open dead letters, of FUNCTION or of all, grouped by how they failed."""
    groups = asyncio.run(_grouped(settings_from(**shared), function))
    if as_json:
        print_json(groups)
    elif groups:
        print_table(_COLUMNS, ([group[column] for column in _COLUMNS] for group in groups))
    else:
        say("no open dead letters")
    return 0


@command.command("show")
@click.argument("function")
@_selection_options
@broker_option
@app_option
@json_option
def show(
    function: str, as_json: bool, *, fingerprint: str | None, event: str | None, every: bool, **shared: Any
) -> int:
    """Print selected open dead letters of FUNCTION, the whole record of each. Exits 1 if nothing matches."""
    documents = asyncio.run(_shown(settings_from(**shared), function, _selection(fingerprint, event, every=every)))
    if as_json:
        print_json(documents)
    else:
        for document in documents:
            _print(document)
    return 0 if documents else _nothing()


@command.command("redrive")
@click.argument("function")
@_selection_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also events that were redriven three times before.")
@broker_option
@app_option
@json_option
def redrive(
    function: str, as_json: bool, *, fingerprint: str | None, event: str | None, every: bool, **given: Any
) -> int:
    """Have FUNCTION, and nobody else, handle selected dead letters once more. Exits 1 if nothing matches."""
    selection = _selection(fingerprint, event, every=every)
    settings = settings_from(broker=given["broker"], app=given["app"])
    ask = sys.stdin.isatty() and not given["yes"]
    found = asyncio.run(_redrive(settings, function, selection, dry=given["dry_run"], force=given["force"], ask=ask))
    if not found["selected"]:
        print_json(found) if as_json else None
        return _nothing()
    if as_json:
        print_json(found)
    else:
        click.echo(", ".join(f"{name.replace('_', ' ')}: {_count(value)}" for name, value in found.items()))
        for one in found["skipped"]:
            say(f"headrace: {one['event']}: {one['reason']}")
    return 0


def _selection(fingerprint: str | None, event: str | None, *, every: bool) -> Selection:
    if not (fingerprint or event or every):
        raise click.UsageError("say which: --fingerprint F, --event ID or --all")
    return Selection(fingerprint, event, every)


def _nothing() -> int:
    say("headrace: no open dead letter matches; `headrace dlq list` shows what there is")
    return 1


def _count(value: object) -> object:
    return len(value) if isinstance(value, list) else value


# -- finding ------------------------------------------------------------------------------------------------------


class _Box(NamedTuple):
    """The dead-letter topic of a function, and its declaration where a target has it."""

    function: str
    topic: str
    spec: FunctionSpec | None


async def _boxes(store: Store, app: str, declared: Collection[FunctionSpec]) -> list[_Box]:
    """Those of the target, and those of the app on the log that no target has any more."""
    from headrace.runtime.plan import dead_letter_topic  # noqa: PLC0415

    boxes = {s.name: _Box(s.name, topic, s) for s in declared if (topic := dead_letter_topic(app, s)) is not None}
    for topic in await store.topics():
        if topic.startswith(f"{app}.") and topic.endswith(".dlt"):
            name = topic.removeprefix(f"{app}.").removesuffix(".dlt")
            boxes.setdefault(name, _Box(name, topic, None))
    return sorted(boxes.values())


async def _open_letters(store: Store, box: _Box, control: Control) -> list[DeadLetter]:
    from headrace.runtime.letters import dead_letters  # noqa: PLC0415

    return [
        one
        async for one in dead_letters(store, box.topic)
        if one.function == box.function and one.letter not in control.letters
    ]


async def _box_of(settings: Settings, store: Store, app: str, function: str) -> _Box:
    from headrace.cli.known import declared  # noqa: PLC0415
    from headrace.functions.errors import SettingsError  # noqa: PLC0415

    boxes = await _boxes(store, app, await declared(settings))
    for box in boxes:
        if box.function == function:
            return box
    names = ", ".join(box.function for box in boxes) or "none"
    raise SettingsError(f"the app {app!r} has no dead letters of a function {function!r}; there are those of: {names}")


async def _grouped(settings: Settings, function: str | None) -> list[dict[str, Any]]:
    from headrace.cli.known import declared  # noqa: PLC0415
    from headrace.compose import open_store  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app = app_of(settings, Path.cwd())
    groups: dict[tuple[str, str], list[DeadLetter]] = {}
    async with open_store(settings, Path.cwd()) as store:
        control = await control_of(store, app)
        if function is None:
            boxes = await _boxes(store, app, await declared(settings))
        else:
            boxes = [await _box_of(settings, store, app, function)]
        for box in boxes:
            for one in await _open_letters(store, box, control):
                groups.setdefault((one.function, one.fingerprint), []).append(one)
    return [_group(letters) for letters in groups.values()]


def _group(letters: Sequence[DeadLetter]) -> dict[str, Any]:
    newest = max(letters, key=lambda one: one.failed_at)
    return {
        "function": newest.function,
        "fingerprint": newest.fingerprint,
        "error_type": newest.error_type,
        "count": len(letters),
        "first": min(one.failed_at for one in letters),
        "last": newest.failed_at,
        "code": newest.code,
        "example": newest.event_id,
    }


async def _shown(settings: Settings, function: str, selection: Selection) -> list[dict[str, Any]]:
    from headrace.cli.tail import event_document  # noqa: PLC0415
    from headrace.compose import open_store  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app = app_of(settings, Path.cwd())
    async with open_store(settings, Path.cwd()) as store:
        box = await _box_of(settings, store, app, function)
        letters = await _open_letters(store, box, await control_of(store, app))
        return [
            {
                **event_document((one.letter.topic, one.letter.partition), one.record, store.cluster),
                "id": one.event_id,
                "function": one.function,
                "origin": {"topic": one.origin.topic, "partition": one.origin.partition, "offset": one.origin.offset},
                "error": {"type": one.error_type, "message": one.error_message, "fingerprint": one.fingerprint},
                "failed_at": one.failed_at,
                "attempts": one.attempts,
                "redrives": one.redrives,
            }
            for one in letters
            if selection.has(one)
        ]


def _print(document: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    origin, error = document["origin"], document["error"]
    click.secho(document["id"], bold=True, nl=False)
    click.echo(f"  {origin['topic']}/{origin['partition']}/{origin['offset']}  key {document['key']}")
    click.echo(f"  {error['type']}: {error['message']}")
    click.echo(f"  failed at {document['failed_at']} after {document['attempts']} attempts; {error['fingerprint']}")
    click.echo(f"  {json.dumps(document['data'], ensure_ascii=False)}")
    for line in str(document["headers"].get("headrace-error-stack", "")).splitlines():
        click.echo(f"    {line}")


# -- redriving ----------------------------------------------------------------------------------------------------


async def _redrive(
    settings: Settings, function: str, selection: Selection, *, dry: bool, force: bool, ask: bool
) -> dict[str, Any]:
    from headrace.compose import open_store  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.redrive import MOST_REDRIVES  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app = app_of(settings, Path.cwd())
    async with open_store(settings, Path.cwd()) as store:
        box = await _box_of(settings, store, app, function)
        letters = [one for one in await _open_letters(store, box, await control_of(store, app)) if selection.has(one)]
        worn = [] if force else [one for one in letters if one.redrives >= MOST_REDRIVES]
        chosen = [one for one in letters if force or one.redrives < MOST_REDRIVES]
        skipped = [_skip(one, f"redriven {one.redrives} times before: --force") for one in worn]
        if dry or not chosen:
            verb = "would_redrive" if dry else "redriven"
            return {"selected": len(letters), verb: len(chosen), "skipped": skipped}
        if ask:
            click.confirm(f"Have {function} handle {len(chosen)} dead letters once more?", abort=True, err=True)
        done, lost = await _send(settings, store, app, box, chosen)
    return {"selected": len(letters), "redriven": done, "skipped": skipped + lost}


async def _send(
    settings: Settings, store: Store, app: str, box: _Box, letters: Sequence[DeadLetter]
) -> tuple[int, list[dict[str, Any]]]:
    """Publish and mark; how many, and what cannot be.

    On the embedded log both are one transaction, elsewhere the mark comes second.
    """
    from headrace.cli.operator import said_now  # noqa: PLC0415
    from headrace.runtime.clock import SystemClock  # noqa: PLC0415
    from headrace.runtime.control import control_spec, letter_record  # noqa: PLC0415
    from headrace.runtime.ports import TopicSpec  # noqa: PLC0415
    from headrace.runtime.redrive import original_of, redrive_topic_of, redriven  # noqa: PLC0415
    from headrace.triggers.url import is_embedded  # noqa: PLC0415

    topic = redrive_topic_of(app, box.function)
    sources = await store.topics([box.topic, *(box.spec.topics if box.spec else ())])
    largest = max(sources.values(), key=lambda info: len(info.bounds))
    await store.ensure([control_spec(app), TopicSpec(topic, len(largest.bounds), max_bytes=largest.max_bytes)])
    partitions = len((await store.topics([topic]))[topic].bounds)
    now_ms, said = SystemClock().now_ms(), said_now("redriven")
    records, marks, lost = [], [], []
    for letter in letters:
        if (original := await original_of(letter, store)) is None:
            lost.append(_skip(letter, "its value was too large for a dead letter, and the original is gone"))
            continue
        records.append(redriven(letter, original, app, partitions=partitions, now_ms=now_ms))
        marks.append(letter_record(app, letter.letter, said, now_ms))
    for batch in [records + marks] if is_embedded(settings.broker) else [records, marks]:
        await store.append(batch)
    return len(records), lost


def _skip(letter: DeadLetter, reason: str) -> dict[str, Any]:
    return {"event": letter.event_id, "reason": reason}
