"""The broker the benchmark runs on."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def broker(bootstrap: str | None) -> AsyncIterator[str]:
    """The broker given, or one of our own as the tests have it."""
    if bootstrap:
        yield bootstrap.removeprefix("kafka://")
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from kafkaserver import BrokerFailed, NoBroker
    from kafkaserver.source import local_broker

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        try:
            server = await asyncio.to_thread(local_broker, Path(folder))
            await asyncio.to_thread(server.start)
        except (NoBroker, BrokerFailed) as error:
            sys.exit(f"{error}\nTo use a broker that runs already: --bootstrap HOST:PORT")
        try:
            yield server.bootstrap
        finally:
            await asyncio.to_thread(server.stop)
