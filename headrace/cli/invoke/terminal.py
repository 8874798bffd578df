"""The terminal that a debugger in the worker talks to."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click


@contextmanager
def terminal() -> Iterator[int]:
    """A descriptor of the terminal at stdin, to read and write; at the end it is as it was. Wrong usage if it is none.

    Meanwhile a Ctrl-Z does nothing: it would stop this process, and not the worker, which reads on.
    """
    if not os.isatty(0):
        raise click.UsageError("--debug talks to you at a terminal, and stdin is none")
    before = termios.tcgetattr(0)
    try:
        fd = os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY)
    except OSError:  # in a container its name may be another one's
        fd = os.dup(0)
    stop = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        yield fd
    finally:
        os.close(fd)
        signal.signal(signal.SIGTSTP, stop)
        with suppress(termios.error):  # it may have been hung up
            termios.tcsetattr(0, termios.TCSADRAIN, before)
