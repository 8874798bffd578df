"""Reload: from a saved file to the first outcome of the new code, beside FastStream's and uvicorn's `--reload`.

    python benchmarks/reload.py [--edits N] [--runs N] [--contenders NAME ...] [--bootstrap HOST:PORT] [--verbose]
        [--json]

Each contender serves the same small project: a pydantic model, two handlers in one file, a module with what they share.
In each run all are started, then take turns until each has had N edits of the handlers' file and N of the shared
module. A turn: its stream begins, an event every 5 ms, on the embedded log, on a topic of a local Kafka broker, or a
pair of requests over HTTP; when it is handled, the new version of the file is written beside it and put in its place
by rename(2). The stream goes on until both handlers run the new code, then what it has sent is handled. Out of its turn
a contender's stream stands still, so that what is measured has the machine for itself but for what the others do when
idle.

The clock. It starts right before rename(2). It stops when a handler that runs the new code is called: each tells that
through a pipe, with the time of the system's monotonic clock, its event, and the versions it runs. "first" is the
first handler to do so, "both" the other.

What is lost or handled twice is counted by the events' numbers. "unanswered" are HTTP requests that were refused, cut
off or answered with an error; a request is made only once.

What is not the same. headrace swaps the workers of each function and keeps the consumers; each event is appended and
settled with a sync to the disk. FastStream and uvicorn stop the process, then start a new interpreter; requests that
come meanwhile wait in uvicorn's listening socket. All three watch files with watchfiles: FastStream and uvicorn with
their default delays. Edits are at least 1.1 s apart, in favour of those two: Python's bytecode cache would have them
run old code after two edits of one size within a second. FastStream's broker, if started here, does not wait for more
members of a new group (`group.initial.rebalance.delay.ms=0`, by default 3 s), in its favour too.

`--verbose` prints for each edit, on stderr, what headrace tells of its reload beside the outcomes, to a millisecond:
the change was seen and loading began; both functions have the new code. Medians of these are in the tables. What is not
installed is left out, with the reason: `make bench` installs the contenders, else `pip install --group bench`. Compare
ratios, not single figures, and measure on an idle machine: what starts processes waits for cores more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from _kafka_broker import broker
from _kafka_topics import fresh
from _kafka_work import Failed
from _libraries import lacking
from _reload_contender import Contender, Place
from _reload_faststream import FastStreamReload
from _reload_headrace import Headrace
from _reload_outcomes import PARTS
from _reload_report import Run, document, steps_of, table
from _reload_turns import Turns, turns
from _reload_uvicorn import UvicornReload
from _results import Measured

CONTENDERS: Sequence[Contender] = [Headrace(), FastStreamReload(), UvicornReload()]


async def measure(
    contenders: Sequence[Contender], bootstrap: str | None, edits: int, runs: int, verbose: bool
) -> Measured[Run]:
    """All runs; a contender that cannot run, or fails, is not tried again."""
    found: Measured[Run] = Measured({one.name: [] for one in contenders})
    found.skipped.update((one.name, reason) for one in contenders if (reason := lacking(one.libraries) or one.lacks()))
    async with AsyncExitStack() as stack:
        kafka = ""
        if any(one.on_kafka and one.name not in found.skipped for one in contenders):
            try:
                kafka = await stack.enter_async_context(broker(bootstrap))
            except SystemExit as reason:  # the others are measured all the same
                told = str(reason).replace("\n", " ")
                found.skipped.update((one.name, told) for one in contenders if one.on_kafka)
        for number in range(runs):
            print(f"run {number + 1} of {runs}", file=sys.stderr)
            found.loads.append(os.getloadavg()[0])
            await _run([one for one in contenders if one.name not in found.skipped | found.failed], kafka, edits, found)
            if verbose:
                _print_steps(found)
    return found


async def _run(contenders: Sequence[Contender], kafka: str, edits: int, found: Measured[Run]) -> None:
    """Start all, let them take turns, count what became of their events, stop them."""
    async with AsyncExitStack() as stack:
        started: list[Turns] = []
        for one in contenders:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
            place = Place(root, fresh("headrace-bench"), _free_port(), kafka)
            try:
                started.append(await stack.enter_async_context(turns(one, place)))
            except Failed as reason:
                found.failed[one.name] = str(reason)
        for _ in range(edits):
            for part in PARTS:
                for turn in started:
                    await _edit(turn, part, found)
        for turn in started:
            if turn.contender.name not in found.failed:
                await _count(turn, found)


async def _edit(turn: Turns, part: str, found: Measured[Run]) -> None:
    name = turn.contender.name
    if name in found.failed:
        return
    try:
        edit = await turn.edit(part)
    except Failed as reason:
        found.failed[name] = str(reason)
        return
    print(f"{name}: {part}: {edit.first_ms:.0f} ms, both {edit.both_ms:.0f} ms", file=sys.stderr)


async def _count(turn: Turns, found: Measured[Run]) -> None:
    try:
        counts = await turn.counted()
    except Failed as reason:
        found.failed[turn.contender.name] = str(reason)
        return
    found.runs[turn.contender.name].append(Run(turn.edits, counts, turn.contender.told(turn.place)))


def _print_steps(found: Measured[Run]) -> None:
    for name, runs in found.runs.items():
        for edit in runs[-1].edits if runs else ():
            if steps := steps_of(edit, runs[-1].told):
                told = ", ".join(f"{step} {ms:.0f}" for step, ms in steps.items())
                print(f"{name}: {edit.part}: {told}", file=sys.stderr)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=25, help="of each of the two files, in each run")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="only those whose name has one of these")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a broker that runs already")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.edits < 1 or options.runs < 1:
        parser.error("--edits and --runs are at least 1")
    chosen = [one for one in CONTENDERS if any(text in one.name for text in options.contenders or [""])]
    if not chosen:
        parser.error(f"nobody is called like that; there are: {', '.join(one.name for one in CONTENDERS)}")
    measured = await measure(chosen, options.bootstrap, options.edits, options.runs, options.verbose)
    found = document(chosen, measured)
    print(json.dumps(found) if options.json else "\n".join(table(found)))
    return 1 if measured.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
