"""The Redis servers the contenders run on: Debian's, as it comes and with a sync before each reply."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

DEFAULT, ALWAYS = "default", "always"
DURABILITY = {DEFAULT: ["--appendonly", "no"], ALWAYS: ["--appendonly", "yes", "--appendfsync", "always"]}
MISSING = "redis-server is not installed (Debian and Ubuntu: apt install redis-server)"
START_S = 20.0


@asynccontextmanager
async def servers() -> AsyncIterator[Mapping[str, str]]:
    """URL by durability; none where there is no Redis, or none that starts."""
    async with AsyncExitStack() as stack:
        found = {}
        for durability in DURABILITY if shutil.which("redis-server") else ():
            try:
                found[durability] = await stack.enter_async_context(_server(durability))
            except TimeoutError:
                print(f"redis-server ({durability}) does not answer after {START_S:g} s", file=sys.stderr)
        yield found


@asynccontextmanager
async def _server(durability: str) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        port = _free_port()
        bind = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--loglevel", "warning"]
        command = ["redis-server", *bind, *DURABILITY[durability], "--logfile", f"{folder}/redis.log"]
        process = await asyncio.create_subprocess_exec(*command)
        try:
            async with asyncio.timeout(START_S):
                await _answers(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            if process.returncode is None:
                process.kill()  # nothing of it is wanted any more
            await process.wait()


async def _answers(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
