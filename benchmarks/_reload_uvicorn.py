"""uvicorn: `uvicorn --reload` with an ASGI application that needs no framework."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from _reload_contender import Place
from _reload_project import document
from _reload_stream import Send

SOURCE = """
from orders import OrderPlaced
from prices import VERSION as HELPER, total
from telling import tell

VERSION = {version}

async def confirm(order: OrderPlaced) -> None:
    total(order)
    tell(0, VERSION, HELPER, order.number)

async def ship(order: OrderPlaced) -> None:
    total(order)
    tell(1, VERSION, HELPER, order.number)

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # no lifespan
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await {"/confirm": confirm, "/ship": ship}[scope["path"]](OrderPlaced.model_validate_json(body))
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""
HEAD = "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
PATIENCE_S = 30.0


class UvicornReload:
    """Requests come over a connection each, one to each handler; one that is refused or cut off is not made again."""

    name = "uvicorn"
    libraries: Sequence[str] = ("uvicorn", "watchfiles")
    handlers = "app.py"
    on_kafka = False
    settings = "uvicorn app:app --reload --no-access-log, with watchfiles, else default; a request is made only once"

    def lacks(self) -> str | None:
        return None

    def source(self, place: Place) -> str:
        _ = place
        return SOURCE

    def command(self, place: Place) -> Sequence[str]:
        options = ["--reload", "--no-access-log", "--host", "127.0.0.1", "--port", str(place.port)]
        return [sys.executable, "-m", "uvicorn", "app:app", *options]

    @asynccontextmanager
    async def feed(self, place: Place) -> AsyncIterator[Send]:
        async def send(number: int) -> bool:
            body = json.dumps(document(number)).encode()
            answers = await asyncio.gather(*(_asked(place.port, path, body) for path in ("/confirm", "/ship")))
            return all(answers)

        yield send

    def told(self, place: Place) -> Sequence[Mapping[str, int]]:
        _ = place
        return []


async def _asked(port: int, path: str, body: bytes) -> bool:
    """Whether it was answered well."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(HEAD.format(path=path, length=len(body)).encode() + body)
                return (await reader.read()).startswith(b"HTTP/1.1 204")
            finally:
                writer.close()
    except OSError:  # refused, cut off, or a TimeoutError
        return False
