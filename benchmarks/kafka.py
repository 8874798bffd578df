"""Apache Kafka: headrace with isolated workers beside other clients and frameworks, on a local broker.

    python benchmarks/kafka.py [--events N] [--runs N] [--cases TEXT ...] [--bootstrap HOST:PORT] [--json]

Fills a topic of four partitions with N order events (about 200 bytes of JSON, two items each, 5,000 keys), then lets
each case drain it: every case and run is a process and a consumer group of its own, from the beginning, the cases one
after another in each run. Rates and CPU are from the first events delivered to the last one handled and committed, so
starts do not count; CPU and memory are those of all processes of the case. Slow cases drain less. The broker shares
the cores. Medians over the runs: compare ratios, not single figures.

What is not installed is left out: `make bench` installs the contenders, else `pip install --group bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from _kafka_broker import broker
from _kafka_cases import CASES, LATENCY, NO_OP, ONE_EMIT, Case
from _kafka_report import document, table
from _kafka_topics import Topics, fresh
from _kafka_work import Failed, Skipped, Work
from _libraries import lacking
from _results import Figures, Measured

LIMIT_S = 300.0
SKIPPED = 75  # the exit code of a case that cannot run here


async def measure(bootstrap: str, cases: Sequence[Case], events: int, runs: int) -> Measured[Figures]:
    """All runs of all cases; one that cannot run, or fails, is not tried again."""
    found: Measured[Figures] = Measured({case.name: [] for case in cases})
    found.skipped.update((case.name, reason) for case in cases if (reason := lacking(case.libraries)))
    async with Topics.on(bootstrap) as topics:
        orders = await topics.make("orders")
        await topics.fill(orders, events)
        for number in range(runs):
            for case in cases:
                if case.name in found.skipped or case.name in found.failed:
                    continue
                print(f"run {number + 1} of {runs}: {case.name}", file=sys.stderr)
                try:
                    found.runs[case.name].append(await _run(bootstrap, topics, orders, case, events))
                except Skipped as reason:
                    found.skipped[case.name] = str(reason)
                except Failed as reason:
                    found.failed[case.name] = str(reason)
    return found


async def _run(bootstrap: str, topics: Topics, orders: str, case: Case, events: int) -> dict[str, float]:
    topic = await topics.make("moments") if case.kind == LATENCY else orders
    out = await topics.make("out") if case.kind != NO_OP else ""
    count = case.events(events)
    figures = await _in_a_process(case, Work(bootstrap, topic, out, fresh("headrace-bench"), count))
    if case.kind == ONE_EMIT and (emitted := await topics.size(out)) < count:
        raise Failed(f"lost events: {emitted} emitted for {count}")
    return figures


async def _in_a_process(case: Case, work: Work) -> dict[str, float]:
    """Raises `Skipped` if it says so, `Failed` with what it says if it fails or takes too long."""
    pipe = asyncio.subprocess.PIPE
    arguments = [__file__, "--case", case.name, "--work", work.dump()]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(LIMIT_S):
            said, complaints = await process.communicate()
    except BaseException as error:
        process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise Failed(f"took more than {LIMIT_S:.0f} s") from error
        raise
    if process.returncode:
        last = complaints.decode(errors="replace").splitlines()[-1:] or ["it said nothing"]
        raise (Skipped if process.returncode == SKIPPED else Failed)(last[0])
    answer: dict[str, float] = json.loads(said.splitlines()[-1])
    return answer


def run_case(name: str, work: Work) -> None:
    (case,) = [case for case in CASES if case.name == name]
    try:
        print(json.dumps(asyncio.run(case.run(work))))
    except Skipped as reason:
        print(str(reason).replace("\n", " "), file=sys.stderr)
        sys.exit(SKIPPED)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help="only those whose name or kind has it")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a broker that runs already")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.cases or any(_chosen(case, text) for text in options.cases)]
    if not cases:
        parser.error(f"no case is called like that; there are: {', '.join(case.name for case in CASES)}")
    async with broker(options.bootstrap) as bootstrap:
        measured = await measure(bootstrap, cases, options.events, options.runs)
    found = document(cases, measured, options.events)
    print(json.dumps(found) if options.json else "\n".join(table(found)))
    return 1 if measured.failed else 0


def _chosen(case: Case, text: str) -> bool:
    return text in case.name or text == case.kind


def entry() -> None:
    """The benchmark, or one of its processes."""
    match sys.argv[1:]:
        case ["--case", name, "--work", work]:
            run_case(name, Work.load(work))
        case ["--produce", work]:
            from _kafka_latency import produce

            asyncio.run(produce(Work.load(work)))
        case _:
            sys.exit(asyncio.run(main()))


if __name__ == "__main__":
    entry()
