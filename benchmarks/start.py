"""How soon a command answers: python benchmarks/start.py [--runs N] [--json].

From exec to the last line of `headrace --help`, and from exec of `headrace run` to the first event in its handler, on
an embedded log that has one event. Milliseconds. Beside them what the interpreter itself takes, to import nothing and
to import what most of the time goes into: what is left is ours.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

FUNCTIONS = """
import os, time
from pydantic import BaseModel
from headrace import function

class Order(BaseModel):
    order_id: str

@function("orders")
def note(order: Order) -> None:
    with open({fifo!r}, "w") as file:
        file.write(f"{{time.monotonic_ns()}}\\n")
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "headrace", *arguments]


def taken_by(arguments: list[str]) -> Callable[[], float]:
    """The milliseconds that a process takes from its start to its end."""

    def once() -> float:
        begun = time.monotonic_ns()
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        return (time.monotonic_ns() - begun) / 1e6

    return once


def first_event() -> float:
    """The milliseconds from the start of `headrace run` to the first event in its handler."""
    with tempfile.TemporaryDirectory() as name:
        folder, fifo = Path(name), Path(name, "outcome")
        os.mkfifo(fifo)
        (folder / "functions.py").write_text(FUNCTIONS.format(fifo=str(fifo)))
        emit = command("emit", "orders", '{"order_id": "1"}')
        subprocess.run(emit, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = time.monotonic_ns()
        with subprocess.Popen(command("run"), cwd=folder, stderr=subprocess.DEVNULL) as process:
            taken = (int(fifo.read_text()) - begun) / 1e6
            process.send_signal(signal.SIGTERM)
        return taken


MEASURED: dict[str, Callable[[], float]] = {
    "python -c pass": taken_by([sys.executable, "-c", "pass"]),
    "import pydantic, sqlite3, asyncio": taken_by([sys.executable, "-c", "import pydantic.main, sqlite3, asyncio"]),
    "headrace --help": taken_by(command("--help")),
    "headrace run, to the first event": first_event,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in MEASURED}
    for _ in range(options.runs):  # in turns, as a machine's speed changes from minute to minute
        for name, once in MEASURED.items():
            taken[name].append(once())
    figures = {
        name: {"median_ms": median(values), "best_ms": min(values), "worst_ms": max(values)}
        for name, values in taken.items()
    }
    if options.json:
        print(json.dumps(figures))
        return
    for name, one in figures.items():
        print(f"{name:36}", "  ".join(f"{key} {value:7.1f}" for key, value in one.items()))


if __name__ == "__main__":
    main()
