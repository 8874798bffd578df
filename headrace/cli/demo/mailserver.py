"""A real SMTP server for the demo, which is busy now and then, as mail servers are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

BUSY_EVERY = 4


@dataclass
class MailServer:
    """Accepts mail on 127.0.0.1. Every fourth message is answered with 450 the first time it comes."""

    delivered: list[str] = field(default_factory=list)
    refused: int = 0
    _seen: set[str] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen on a free port; the URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, enable_SMTPUTF8=True), "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"smtp://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message, or say that we are busy (aiosmtpd calls this)."""
        _ = server, session
        content: Any = envelope.content
        name = str(message_from_bytes(content, policy=default)["Message-ID"])
        if name not in self._seen:
            self._seen.add(name)
            if len(self._seen) % BUSY_EVERY == 0:
                self.refused += 1
                return "450 4.3.2 busy, try again later"
        self.delivered.append(name)
        return "250 2.0.0 taken"

    def __repr__(self) -> str:
        return f"<MailServer: {len(self.delivered)} delivered, {self.refused} refused>"
