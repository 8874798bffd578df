"""`headrace dlq redrive --dry-run`: what a redrive would come to, and nothing published."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from headrace.cli.dlq.selection import Selection, nothing
from headrace.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headrace.compose import Workshop
    from headrace.runtime.letters import DeadLetter
    from headrace.runtime.ports import Store
    from headrace.runtime.settings import Settings
    from headrace.sandbox.manifest import FunctionSpec
    from headrace.sandbox.outcome import Failure
    from headrace.sandbox.wire import Outlet

_COLUMNS = ("count", "error_type", "fingerprint", "example", "message")
_LONGEST = 120


class Ending(NamedTuple):
    """How the event of a dead letter ended; without a failure it would pass."""

    letter: DeadLetter
    failure: Failure | None


async def rehearse(settings: Settings, function: str, selection: Selection, *, ask: bool, as_json: bool) -> int:
    """Run the selected dead letters through the present code, one after another, and print how they end.

    Nothing is published, and nothing marked; what the code does outside of the log happens, so it says so first.
    """
    from headrace.cli.dlq.boxes import box_of, open_letters  # noqa: PLC0415
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415

    async with _code_of(settings, function) as (shop, spec), shared_store(settings, Path.cwd()) as store:
        box = await box_of(store, shop.app, shop.manifest.functions, function)
        control = await control_of(store, shop.app)
        letters = [one for one in await open_letters(store, box, control) if selection.has(one)]
        if letters:
            _warn(function, letters, ask=ask)
        endings = await _endings(shop, spec, store, letters)
    _print(endings, as_json=as_json)
    if not endings:
        return nothing()
    return 1 if any(one.failure for one in endings) else 0


@asynccontextmanager
async def _code_of(settings: Settings, function: str) -> AsyncIterator[tuple[Workshop, FunctionSpec]]:
    """The target, and the function in it. Raises `TargetError` if there is none, or not this function."""
    from headrace.compose import workshop  # noqa: PLC0415
    from headrace.functions.errors import TargetError  # noqa: PLC0415
    from headrace.functions.names import meant  # noqa: PLC0415
    from headrace.sandbox.target import find_target  # noqa: PLC0415

    try:
        find_target(settings.target, Path.cwd())
    except TargetError as error:
        raise TargetError(
            f"--dry-run runs the present code of {function!r}, which was not found: {error}; name it with --target"
        ) from error
    async with workshop(settings, Path.cwd()) as shop:
        specs = {spec.name: spec for spec in shop.manifest.functions}
        if function not in specs:
            raise TargetError(
                f"--dry-run runs the present code of {function!r}, and {shop.target.path} has no such function"
                f"{meant(function, specs)}; it has: {', '.join(specs)}. Name the code that has it with --target"
            )
        yield shop, specs[function]


def _warn(function: str, letters: Sequence[DeadLetter], *, ask: bool) -> None:
    say(
        f"headrace: a dry run publishes nothing, but it runs {function} for real, once for each of {len(letters)} dead "
        "letter(s): what it does outside of the log (an e-mail it sends, a row it writes) happens"
    )
    if ask:
        click.confirm("Run it?", abort=True, err=True)


async def _endings(shop: Workshop, spec: FunctionSpec, store: Store, letters: Sequence[DeadLetter]) -> list[Ending]:
    from headrace.cli.dlq.trial import LOST, Trial  # noqa: PLC0415
    from headrace.compose import worker_spec  # noqa: PLC0415
    from headrace.runtime.redrive import original_of  # noqa: PLC0415
    from headrace.sandbox.outcome import failure_in  # noqa: PLC0415

    trial = Trial(shop.zygote, worker_spec(shop, spec, store.cluster, await _outlets(spec, store)))
    endings = []
    for letter in letters:
        original = await original_of(letter, store)
        failure = LOST if original is None else failure_in(await trial.run(letter, original))
        endings.append(Ending(letter, failure))
    await trial.close()
    return endings


async def _outlets(spec: FunctionSpec, store: Store) -> dict[str, Outlet]:
    """The topics it may emit to as they are, so that what would be refused there is refused here."""
    from headrace.sandbox.wire import Outlet  # noqa: PLC0415

    infos = await store.topics(spec.emits)
    outlets = {
        name: Outlet(len(info.bounds), info.max_bytes, keyed="compact" in info.spec.cleanup)
        for name, info in infos.items()
    }
    return {**dict.fromkeys(spec.emits, Outlet(1)), **outlets}


def _print(endings: Sequence[Ending], *, as_json: bool) -> None:
    failing = [one for one in endings if one.failure is not None]
    counts = {
        "selected": len(endings),
        "would_pass": len(endings) - len(failing),
        "would_fail": len(failing),
    }
    if as_json:
        print_json(counts)
    elif endings:
        click.echo(", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items()))
        if failing:
            print_table(_COLUMNS, _rows(failing))


def _rows(failing: Sequence[Ending]) -> list[tuple[object, ...]]:
    """One for each way to fail."""
    groups: dict[str, list[Ending]] = {}
    for one in failing:
        if one.failure is not None:
            groups.setdefault(one.failure.fingerprint or one.failure.type, []).append(one)
    rows: list[tuple[object, ...]] = []
    for fingerprint, (first, *others) in groups.items():
        if first.failure is not None:
            message = " ".join(first.failure.message.split())[:_LONGEST]
            rows.append((1 + len(others), first.failure.type, fingerprint, first.letter.event_id, message))
    return rows
