"""What tests of the command line share: a shell in a folder of its own, and a mailbox."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

ROOT = Path(__file__).parents[2]
STOREFRONT = ROOT / "examples" / "storefront"


@dataclass
class Shell:
    """Runs `headrace` in a folder of its own, on the default embedded log there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "headrace")

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        return {**clean, "NO_COLOR": "1", **self.environment}

    @contextmanager
    def start(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A running command; killed at the end if it still runs, so that a failing test does not hang on it."""
        command = [sys.executable, *self.program, *arguments]
        with subprocess.Popen(command, cwd=self.folder, text=True, **{"env": self.env, **options}) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str, stdin: str | None = None, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *self.program, *arguments]
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            text=True,
            input=stdin,
            capture_output=True,
            timeout=300,
            check=False,
        )
        if code is not None:
            assert result.returncode == code, (
                f"{arguments} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
            )
        assert "Traceback" not in result.stderr or code is None, result.stderr
        return result

    def json(self, *arguments: str, stdin: str | None = None, code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", stdin=stdin, code=code).stdout)

    def tail(self, topic: str) -> list[dict[str, Any]]:
        output = self.run("tail", topic, "--no-follow", "--json").stdout
        return [json.loads(line) for line in output.splitlines()]

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that are still there; none if it has ended itself."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def copy_of_storefront(folder: Path) -> Path:
    """The example in a folder of its own: its functions keep a database beside them."""
    return shutil.copytree(
        STOREFRONT,
        folder / "storefront",
        ignore=shutil.ignore_patterns("shop.db*", ".headrace", "__pycache__", "tests"),
    )


@dataclass
class Mailbox:
    """What the SMTP server took. `busy(n)` says whether the n-th message to come is answered with 450.

    Unless `speaks` is set, it takes what comes and does not say so.
    """

    url: str = ""
    delivered: list[str] = field(default_factory=list)
    seen: int = 0
    busy: Callable[[int], bool] = lambda _: False
    refuse: str | None = None
    speaks: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        with self.arrived:
            self.seen += 1
            if self.refuse is not None:
                return self.refuse
            if self.busy(self.seen):
                return "450 4.3.2 busy"
            self.delivered.append(envelope.rcpt_tos[0])
            self.arrived.notify_all()
            speaks = self.speaks.is_set()
        if not speaks:
            await asyncio.to_thread(self.speaks.wait)
        return "250 2.0.0 taken"

    def fall_silent(self) -> None:
        """From now on say nothing any more; return when a message was taken that is never answered."""
        with self.arrived:
            self.speaks.clear()
            taken = len(self.delivered)
        self.wait_for(taken + 1)

    def wait_for(self, count: int, timeout: float = 120) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.delivered) >= count, timeout), f"only {len(self.delivered)}"


class _MailServer(Controller):
    """aiosmtpd's threaded server, on a socket that was bound before, so that nobody can take its port."""

    def __init__(self, box: Mailbox, sock: socket.socket) -> None:
        super().__init__(box, hostname="127.0.0.1", port=sock.getsockname()[1], ready_timeout=60)
        self._sock = sock

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._sock)


@contextmanager
def mail_server(box: Mailbox) -> Iterator[Mailbox]:
    """A real SMTP server on a free port, that takes mail for `box`."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = _MailServer(box, sock)
    box.speaks.set()
    server.start()
    box.url = f"smtp://127.0.0.1:{server.port}"
    try:
        yield box
    finally:
        box.speaks.set()
        server.stop()
