"""headrace: `headrace dev` on the embedded log, each function in an isolated worker of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from _reload_contender import Place
from _reload_project import document
from _reload_stream import Send

SOURCE = """
from headrace import Sandbox, function
from orders import OrderPlaced
from prices import VERSION as HELPER, total
from telling import tell

VERSION = {version}

@function("orders", sandbox=Sandbox(files={"{pipe}": "rw"}))
def confirm(order: OrderPlaced) -> None:
    total(order)
    tell(0, VERSION, HELPER, order.number)

@function("orders", sandbox=Sandbox(files={"{pipe}": "rw"}))
def ship(order: OrderPlaced) -> None:
    total(order)
    tell(1, VERSION, HELPER, order.number)
"""


class Headrace:
    """Events are appended to the log it reads, with a sync to the disk each."""

    name = "headrace"
    libraries: Sequence[str] = ("headrace",)
    handlers = "functions.py"
    on_kafka = False
    settings = (
        "headrace dev functions.py --json --no-keys: the embedded log, order by key, 4 partitions, its defaults; "
        "every event appended and settled with a sync to the disk"
    )

    def lacks(self) -> str | None:
        asked = subprocess.run([*_HEADRACE, "dev", "--help"], capture_output=True, check=False)
        return "this version of headrace has no `headrace dev`" if asked.returncode else None

    def source(self, place: Place) -> str:
        return SOURCE.replace("{pipe}", str(place.pipe))

    def command(self, place: Place) -> Sequence[str]:
        _ = place
        return [*_HEADRACE, "dev", "functions.py", "--json", "--no-keys", "--app", "bench"]

    @asynccontextmanager
    async def feed(self, place: Place) -> AsyncIterator[Send]:
        from headrace import connect

        async with connect(f"sqlite:{place.folder}/.headrace/log.db") as log:

            async def send(number: int) -> bool:
                await log.emit("orders", document(number), key=f"customer-{number % 50}", type="OrderPlaced")
                return True

            yield send

    def told(self, place: Place) -> Sequence[Mapping[str, int]]:
        """What it says of its reloads: when each began to load, and when the new code was in place; in ns."""
        return list(_reloads(place.said))


_HEADRACE = (sys.executable, "-m", "headrace")


def _reloads(said: Path) -> Iterator[Mapping[str, int]]:
    ahead_ns = time.time_ns() - time.monotonic_ns()  # its documents carry the time of day
    for line in said.read_text().splitlines():
        if '"reload"' not in line or (told := json.loads(line))["kind"] != "reload":
            continue
        in_place_ns = int(datetime.fromisoformat(told["time"]).timestamp() * 1e9) - ahead_ns
        yield {"loading_ns": in_place_ns - told["duration_ms"] * 1_000_000, "in_place_ns": in_place_ns}
