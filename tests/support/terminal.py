"""A command on a terminal of its own: what it shows, what is typed there, and how it leaves the terminal."""

from __future__ import annotations

import codecs
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
from typing import IO, Any, TextIO

from harness import Shell

PATIENCE = 60.0
CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_Z = "\x1a"
_LOOKS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """`headrace`, the foreground job of a little shell, whose terminal is ours."""

    def __init__(
        self, process: subprocess.Popen[bytes], ours: int, theirs: int, told: TextIO, found: list[Any]
    ) -> None:
        self.found = found  # the settings before the command was started
        self._process = process
        self._told = told
        self.pid = int(told.readline())
        self._raw = ""
        self._ours = ours
        self._theirs: int | None = theirs  # kept open, so that its settings can be looked at when the command is gone
        self._last_settings: list[Any] = []
        self._prompted = 0
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # -- what is shown ------------------------------------------------------------------------------------------------

    @property
    def shown(self) -> str:
        """All that was shown, without colours. A place is an index into it."""
        return _LOOKS.sub("", self._raw).replace("\r\n", "\n")

    @property
    def settings(self) -> list[Any]:
        """Of the terminal: whether it echoes, edits lines, …"""
        return self._last_settings if self._theirs is None else termios.tcgetattr(self._theirs)

    @property
    def stdout(self) -> IO[bytes]:
        """What the command writes there, if that was given as a pipe."""
        assert self._process.stdout is not None
        return self._process.stdout

    def until(self, text: str, after: int = 0) -> int:
        """Wait until `text` is shown beyond the place `after`; the place behind it."""
        assert self._is_shown(text, after, PATIENCE), f"{text!r} was not shown in:\n{self.shown[after:]}"
        return self.shown.index(text, after) + len(text)

    def line(self, text: str, after: int = 0) -> str:
        """The whole line with `text`, once it is shown."""
        end = self.until("\n", self.until(text, after))
        return self.shown[:end].splitlines()[-1]

    # -- what is typed ------------------------------------------------------------------------------------------------

    def type(self, keys: str) -> None:
        """Type them, whatever is shown."""
        os.write(self._ours, keys.encode())

    def type_until(self, keys: str, text: str, after: int = 0) -> int:
        """Type them, again and again, until `text` is shown beyond the place `after`; the place behind it."""
        while text not in self.shown[after:]:
            self.type(keys)
            self._is_shown(text, after, 1.0)
        return self.until(text, after)

    def prompted(self, prompt: str = "(Pdb) ") -> str:
        """Wait for the next prompt; what was shown between the one before and this."""
        since = self._prompted
        self._prompted = self.until(prompt, since)
        return self.shown[since : self._prompted].removesuffix(prompt)

    def answer(self, line: str) -> str:
        """Type a line at the next prompt; what was shown before it, as `prompted`."""
        before = self.prompted()
        self.type(f"{line}\n")
        return before

    # -- how it stops and ends ----------------------------------------------------------------------------------------

    def until_stopped(self) -> None:
        """Wait until the command is stopped, as by Ctrl-Z."""
        assert self._told.readline() == "stopped\n"

    def go_on(self) -> None:
        """What a shell's `fg` does."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, and until all is shown; the exit code."""
        code = self._process.wait(PATIENCE)
        self._hang_up()
        assert not self._reader.is_alive(), "something still has the terminal open"
        return code

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._hang_up()
        self._told.close()

    def _hang_up(self) -> None:
        """Let go of their end, so that ours ends when nothing else has it open."""
        if self._theirs is not None:
            self._last_settings = termios.tcgetattr(self._theirs)
            os.close(self._theirs)
            self._theirs = None
        self._reader.join(PATIENCE)

    def _is_shown(self, text: str, after: int, seconds: float) -> bool:
        with self._news:
            return self._news.wait_for(lambda: text in self.shown[after:], seconds)

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:  # nobody has it open any more
                return
            with self._news:
                self._raw += decoder.decode(data)
                self._news.notify_all()


@contextmanager
def on_terminal(shell: Shell, *arguments: str, columns: int = 160, stdout: int | None = None) -> Iterator[Terminal]:
    """`headrace` with these arguments on a terminal, in the shell's folder; killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    tell, told = os.pipe()
    found = termios.tcgetattr(theirs)
    command = [sys.executable, "-c", _SHELL, str(told), sys.executable, *shell.program, *arguments]
    with subprocess.Popen(
        command,
        cwd=shell.folder,
        env={**shell.env, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        start_new_session=True,
        pass_fds=[told],
    ) as process:
        os.close(told)
        terminal = Terminal(process, ours, theirs, os.fdopen(tell), found)
        try:
            yield terminal
        finally:
            terminal.close()
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
