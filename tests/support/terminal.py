"""A command on a terminal of its own: what it prints, what is typed, and how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

PATIENCE = 60.0
_LOOKS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A command, the job of a little shell, whose terminal is ours. `shown` is all it printed, without colours."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int, theirs: int, told: TextIO) -> None:
        self._process = process
        self._told = told
        self.pid = int(told.readline())
        self.raw = ""
        self._ours = ours
        self._theirs = theirs  # kept open, so that its state can be looked at when the process is gone
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def shown(self) -> str:
        return _LOOKS.sub("", self.raw).replace("\r\n", "\n")

    @property
    def state(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._theirs)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, text: str, after: int = 0) -> int:
        """Wait until `text` is shown beyond the place `after`; the place behind it."""
        with self._news:
            found = self._news.wait_for(lambda: text in self.shown[after:], PATIENCE)
        assert found, f"{text!r} was not shown in:\n{self.shown[after:]}"
        return self.shown.index(text, after) + len(text)

    def line(self, text: str, after: int = 0) -> str:
        """The whole line with `text`, once it is shown."""
        end = self.until("\n", self.until(text, after))
        return self.shown[:end].splitlines()[-1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        os.kill(self.pid, number)
        return self.wait()

    def until_stopped(self) -> None:
        """Wait until the command is stopped, as by Ctrl-Z."""
        assert self._told.readline() == "stopped\n"

    def go_on(self) -> None:
        """What a shell's `fg` does."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        return self._process.wait(PATIENCE)

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:
                return
            pending += data
            with self._news:
                self.raw += pending.decode("utf-8", "ignore")
                self._news.notify_all()
            pending = b""


@contextmanager
def on_terminal(folder: Path, env: dict[str, str], *arguments: str, columns: int = 160) -> Iterator[Terminal]:
    """`headrace` with these arguments on a terminal; killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    tell, told = os.pipe()
    command = [sys.executable, "-c", _SHELL, str(told), sys.executable, "-m", "headrace", *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        pass_fds=[told],
    )
    os.close(told)
    terminal = Terminal(process, ours, theirs, os.fdopen(tell))
    try:
        yield terminal
    finally:
        if process.poll() is None:
            os.kill(terminal.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        terminal._told.close()
        os.close(theirs)
        terminal._reader.join(PATIENCE)
        os.close(ours)


# A shell with one job in the foreground: it says the job's number and when it stops, and ends as it does. Without a
# parent of its own session a process cannot be stopped from the terminal.
_SHELL = """
import fcntl, os, signal, sys, termios
told, *command = sys.argv[1:]
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if not job:
    os.close(int(told))
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(command[0], command)
os.write(int(told), f"{job}\\n".encode())
while os.WIFSTOPPED(status := os.waitpid(job, os.WUNTRACED)[1]):
    os.write(int(told), b"stopped\\n")
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""
