"""A real terminal: a program on a pseudo-terminal that it is the foreground of, and what a person types there."""

from __future__ import annotations

import errno
import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import Shell

# Becomes the foreground of the terminal at its stdin, so that Ctrl-C there is a signal, and then the program.
_LAUNCHER = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)

CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_Z = "\x1a"


class Terminal:
    """`headrace` at a terminal. `shown` is all that was shown there."""

    def __init__(self, process: subprocess.Popen[str], screen: int, line: int) -> None:
        self.process = process
        self.shown = ""
        self._screen = screen
        self._line = line
        self._seen = 0

    def wait_for(self, text: str) -> str:
        """Until that is shown; what was shown since the last time, up to its end."""
        while (found := self.shown.find(text, self._seen)) < 0:
            assert self._read(), f"{text!r} is not shown after:\n{self.shown[self._seen :]}\nin:\n{self.shown}"
        since = self.shown[self._seen : found + len(text)]
        self._seen = found + len(text)
        return since

    def type(self, text: str) -> None:
        """Type it."""
        os.write(self._screen, text.encode())

    def press_until(self, key: str, text: str) -> None:
        """Type a key, again and again, until that is shown."""
        while text not in self.shown[self._seen :]:
            self.type(key)
            if select.select([self._screen], [], [], 1.0)[0]:
                assert self._read()
        self.wait_for(text)

    def answer(self, line: str, *, prompt: str = "(Pdb) ") -> str:
        """Type a line at the next prompt; what was shown before it."""
        before = self.wait_for(prompt)
        self.type(f"{line}\n")
        return before.removesuffix(prompt)

    def end(self) -> int:
        """Wait until it ends; its exit code."""
        while self._read():
            pass
        return self.process.wait(60)

    @property
    def settings(self) -> list[Any]:
        """Of the terminal: whether it echoes, edits lines, …"""
        return termios.tcgetattr(self._line)

    def _read(self) -> bool:
        try:
            data = os.read(self._screen, 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False  # nobody has it open any more
        self.shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def at_terminal(shell: Shell, *arguments: str, **options: Any) -> Iterator[Terminal]:
    """`headrace` at a terminal, in the shell's folder; killed at the end if it still runs."""
    screen, line = pty.openpty()
    streams = {"stdin": line, "stdout": line, "stderr": line, **options}
    command = [sys.executable, "-c", _LAUNCHER, sys.executable, *shell.program, *arguments]
    environment = {**shell.env, "TERM": "xterm"}
    try:
        with subprocess.Popen(
            command, cwd=shell.folder, env=environment, text=True, start_new_session=True, **streams
        ) as process:
            os.close(line)
            try:
                yield Terminal(process, screen, screen)
            finally:
                process.kill()
    finally:
        os.close(screen)
