"""The command line as a user has it: real processes, real files, a real SMTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Mailbox, Shell, mail_server


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh folder named `shop`, so that the app is `shop`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    return Shell(folder)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A real SMTP server on a free port."""
    with mail_server(Mailbox()) as box:
        yield box
