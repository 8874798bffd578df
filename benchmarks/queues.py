"""Task queues: headrace with isolated workers on the embedded log beside Celery, Dramatiq and Taskiq on Redis.

    python benchmarks/queues.py [--events N] [--runs N] [--cases TEXT ...] [--json]

Tasks that do nothing, and tasks that take 1 ms (`time.sleep(0.001)`, the same for all: waiting, not computing), drained
from a filled queue by one worker process and by two. A task is an order of about 200 bytes of JSON, decoded into the
same pydantic model by all. Every case and run is a process of its own, the cases one after another in each run, so that
what else the machine does meets all of them. headrace gets N tasks, the others fewer, as they take longer for each; of
1 ms all get the same.

The clock. A contender's queue is filled and its worker processes are started, but held at a gate before they take
tasks; when all are up the gate opens. The clock runs from the first task begun to the last one ended, in any of them:
neither their start nor the last acknowledgement counts. headrace's runs from when its workers are up, nothing fetched,
until the progress of the last event is synced to the disk; so what is not the same is in favour of the others. A
Celery parent may take its prefetched tasks before the gate opens, which is in its favour too. Counting costs the others
about a microsecond for each task.

Durability. headrace syncs each settlement to the disk. The others run on Redis with `--appendonly yes --appendfsync
always`, which syncs what they acknowledge before it replies ("always"), and on Redis as it comes, which syncs nothing
("default"). Both servers are started here, on free ports and in temporary folders, and killed at the end.

What is not the same. headrace keeps the order of each key and one task at a time in each process; Dramatiq runs 8
threads in a process unless told otherwise and Taskiq up to 100 tasks: with tasks that wait, that is what they are for,
so headrace is measured with 8 workers too. Only Celery and headrace run tasks apart from what talks to the broker.

CPU and memory are of all processes of the case; Redis' CPU is a column of its own, its memory is not counted.
Medians over the runs: compare ratios, not single figures. On a machine that does other work, a contender that waits for
Redis or its own processes at each task waits for a core too, so its rate falls further than that of one that works in
chunks: the ratio of the best runs, and that of the CPU, which suffer least from it, stand beside that of the medians.
What is not installed is left out: `make bench` installs the
contenders, else `pip install --group bench`; Redis: `apt install redis-server`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from _kafka_work import Failed
from _libraries import lacking
from _queues_cases import CASES, Case
from _queues_redis import MISSING, servers
from _queues_report import document, table
from _results import Figures, Measured

LIMIT_S = 300.0


async def measure(urls: Mapping[str, str], cases: Sequence[Case], events: int, runs: int) -> Measured[Figures]:
    """All runs of all cases; one that cannot run, or fails, is not tried again."""
    found: Measured[Figures] = Measured({case.name: [] for case in cases})
    found.skipped.update((case.name, reason) for case in cases if (reason := _lacks(case, urls)))
    for number in range(runs):
        found.loads.append(os.getloadavg()[0])
        for case in cases:
            if case.name in found.skipped or case.name in found.failed:
                continue
            try:
                figures = await _in_a_process(case, urls.get(case.durability, ""), events)
            except Failed as reason:
                found.failed[case.name] = str(reason)
                continue
            found.runs[case.name].append(figures)
            print(f"run {number + 1} of {runs}: {case.name}: {figures['tasks_per_s']:,.0f} tasks/s", file=sys.stderr)
    return found


def _lacks(case: Case, urls: Mapping[str, str]) -> str | None:
    missing = lacking(case.contender.libraries)
    return missing or (MISSING if case.contender.on_redis and case.durability not in urls else None)


async def _in_a_process(case: Case, url: str, events: int) -> dict[str, float]:
    """Raises `Failed` with the end of what it says if it fails or takes too long."""
    pipe = asyncio.subprocess.PIPE
    arguments = [__file__, "--case", case.name, "--redis", url, "--events", str(events)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(LIMIT_S):
            said, complaints = await process.communicate()
    except BaseException as error:
        process.send_signal(signal.SIGINT)  # it stops its workers, then ends
        await process.wait()
        if isinstance(error, TimeoutError):
            raise Failed(f"took more than {LIMIT_S:.0f} s") from error
        raise
    if process.returncode:
        raise Failed((complaints.decode(errors="replace").splitlines() or ["it said nothing"])[-1])
    answer: dict[str, float] = json.loads(said.splitlines()[-1])
    return answer


def run_case(name: str, url: str, events: int) -> None:
    (case,) = [case for case in CASES if case.name == name]
    module = importlib.import_module("_queues_drain" if case.contender.on_redis else "_queues_headrace")
    print(json.dumps(asyncio.run(module.drain(case, url, case.tasks(events)))))


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help="only those whose name has one of these")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.cases or any(text in case.name for text in options.cases)]
    if not cases:
        parser.error(f"no case is called like that; there are: {'; '.join(case.name for case in CASES)}")
    async with servers() as urls:
        measured = await measure(urls, cases, options.events, options.runs)
    found = document(cases, measured, options.events)
    print(json.dumps(found) if options.json else "\n".join(table(found)))
    return 1 if measured.failed else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--case", name, "--redis", url, "--events", events]:
            run_case(name, url, int(events))
        case _:
            sys.exit(asyncio.run(main()))
