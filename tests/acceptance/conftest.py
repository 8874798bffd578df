"""The command line as a user has it: real processes, real files, a real SMTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from harness import Mailbox, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh folder named `shop`, so that the app is `shop`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    return Shell(folder)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A real SMTP server on a free port."""
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=0)
    controller.start()
    port = controller.server.sockets[0].getsockname()[1]
    box.url = f"smtp://127.0.0.1:{port}"
    yield box
    controller.stop()
