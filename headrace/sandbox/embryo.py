"""The embryo of a zygote: its process, exec'ed and not yet heard of.

Takes nothing but the standard library, so that a command can begin with it: while the zygote imports what workers need,
the command imports what it needs itself.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Self

# As `-m headrace.sandbox.zygote`, without collections while it imports: they take a tenth of the time and find nothing.
_RUN = "import gc, runpy; gc.disable(); runpy.run_module('headrace.sandbox.zygote', run_name='__main__')"


@dataclass(frozen=True, slots=True)
class Embryo:
    """The parent's end of the control socket, and the process. It ends when that end is closed, or its parent dies."""

    control: socket.socket
    process: subprocess.Popen[bytes]

    @classmethod
    def begin(cls) -> Self:
        """Exec it. Raises `SandboxError` if that cannot be."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            with theirs:
                return cls(ours, _started(ours, theirs))
        except OSError as error:
            from headrace.functions.errors import SandboxError  # noqa: PLC0415  (only needed when it failed)

            raise SandboxError(
                f"the process that workers come from cannot be started with {sys.executable}: {error.strerror}; see "
                "that this user may run it, and the limits of processes, memory and open files (`ulimit -a`)"
            ) from error

    def end(self) -> None:
        """It is not needed. Returns when it is gone."""
        self.process.kill()  # first: what it has to say of a parent that hung up is of no interest
        self.process.wait()
        self.control.close()


def _started(ours: socket.socket, theirs: socket.socket) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", _RUN, str(theirs.fileno()), str(os.getpid())],
            env=_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C at the terminal is for the parent, which drains
        )
    except OSError:
        ours.close()
        raise


def _environment() -> dict[str, str]:
    """What the zygote is started with: /proc/self/environ shows it to every worker for good."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **kept,
        "MALLOC_ARENA_MAX": "2",  # each thread's arena counts as data
        "OPENBLAS_NUM_THREADS": "1",  # numpy starts threads on import otherwise
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
