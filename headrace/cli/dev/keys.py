"""Keys: single key presses of a terminal, which is as it was before when this is closed, however that comes about."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_ESCAPE = b"\x1b"


class Keys:
    """Calls `pressed` with each character typed on `fd`, which is a terminal.

    Ctrl-C, Ctrl-Z and Ctrl-\\ keep their meaning. While the program is stopped, and once it has ended, the terminal is
    as it was found; only a SIGKILL leaves no time for that. In the background there are no keys.
    """

    def __init__(self, fd: int, pressed: Callable[[str], None]) -> None:
        self._fd = fd
        self._pressed = pressed
        self._loop = asyncio.get_running_loop()
        self._found: list[Any] = []
        self._in_force = False

    def open(self) -> bool:
        """Begin; False, and nothing was touched, if `fd` is no terminal."""
        try:
            self._found = termios.tcgetattr(self._fd)
        except (termios.error, OSError):
            return False
        atexit.register(self._leave)
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop, signal.SIGTSTP)
        self._loop.add_signal_handler(signal.SIGQUIT, self._stop, signal.SIGQUIT)
        self._loop.add_signal_handler(signal.SIGCONT, self._enter)
        self._enter()
        return True

    def close(self) -> None:
        """End; the terminal is as it was."""
        if self._found:
            self._leave()
            atexit.unregister(self._leave)
            for number in (signal.SIGTSTP, signal.SIGQUIT, signal.SIGCONT):
                self._loop.remove_signal_handler(number)

    def _enter(self) -> None:
        if self._in_force or not self._is_ours:
            return
        with suppress(termios.error, OSError):
            tty.setcbreak(self._fd, termios.TCSANOW)
            self._in_force = True
            self._loop.add_reader(self._fd, self._read)

    def _leave(self) -> None:
        if not self._in_force:
            return
        self._in_force = False
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        if self._is_ours:  # else it is set by who has it now, and touching it would stop us
            with suppress(termios.error, OSError):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._found)

    @property
    def _is_ours(self) -> bool:
        """Whether we are in the foreground of the terminal."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def _stop(self, number: int) -> None:
        """Let the signal do what it does, with the terminal as it was."""
        self._leave()
        self._loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        self._loop.add_signal_handler(number, self._stop, number)  # we were stopped, and go on
        self._enter()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._loop.remove_reader(self._fd)
            return
        if not (data.startswith(_ESCAPE) and len(data) > 1):  # an arrow or the like is one key, and none of ours
            for character in data.decode("utf-8", "ignore"):
                self._pressed(character)

    def __repr__(self) -> str:
        return f"<Keys of terminal {self._fd}, {'in force' if self._in_force else 'not in force'}>"
