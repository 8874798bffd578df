"""What a forked process gives up before it runs user code, in an order in which each step is still possible."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headrace.sandbox.linux.prctl import die_with_parent, no_new_privileges

IPC, PAGE, TERMINAL = 3, 4, 5

_NICER = 5
_OPEN_FILES = 256
_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class IsolationLevel:
    """What stands between a handler and the rest of the machine. `missing` is told wherever the level is."""

    name: str
    in_force: tuple[str, ...]
    missing: tuple[str, ...]


def isolation_level() -> IsolationLevel:
    """The level in force now.

    "process": a crash, an endless loop or a memory hog stays in its worker, and another function's secrets are not in
    its environment. Files, network and other processes are as open as the user that headrace runs as.
    """
    return IsolationLevel(
        "process",
        in_force=(
            "own process and session",
            "resource limits",
            "scrubbed environment",
            "no inherited file descriptors",
        ),
        missing=(
            "files (Landlock)",
            "network and system calls (seccomp)",
            "own user (uid drop)",
            "CPU share and size of the temporary folder",
        ),
    )


def enter(fds: Sequence[int], *, parent: int, memory: int) -> None:
    """Become a worker's process: nothing of the zygote's is left but its memory.

    `fds` are [ipc, stdout, stderr, page] and, for a worker that is debugged, a terminal; they become 3, 1, 2, 4 and 5,
    and all others are closed. `memory` is the limit
    of private memory in bytes, 0 for no resource limits. Each step stands where it does for a reason; what comes after
    the last one (the environment, the secrets, user code) comes after all of them.
    """
    os.setsid()
    _take_descriptors(fds)
    _offer_to_oom_killer()  # while /proc/self is ours: a change of uid makes it root's
    os.umask(0o077)
    _limit(memory)
    # >>> a drop of uid goes here: before PDEATHSIG, which it clears <<<
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above; nobody would ever kill us
        os._exit(1)
    no_new_privileges()
    # >>> Landlock goes here, then seccomp as the very last, as it forbids the steps above. One thread only: both bind
    #     the calling thread and those it starts later. <<<


def _take_descriptors(fds: Sequence[int]) -> None:
    # Through high numbers, because a descriptor may come in under the number that another is to get.
    high = [os.dup2(fd, 64 + place, inheritable=False) for place, fd in enumerate(fds)]
    places = (IPC, 1, 2, PAGE, TERMINAL)[: len(fds)]
    for fd, place in zip(high, places, strict=True):
        os.dup2(fd, place, inheritable=place in {1, 2})
    os.closerange(max(places) + 1, os.sysconf("SC_OPEN_MAX"))


def _offer_to_oom_killer() -> None:
    with suppress(OSError):  # not every container lets us; then the kernel chooses as it likes
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(memory: int) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    if not memory:
        return
    os.nice(_NICER)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # too large a file is then an OSError in the handler
    _lower(resource.RLIMIT_FSIZE, _FILE_BYTES)
    # Not RLIMIT_AS: address space is reserved far beyond what is used (numpy with 16 threads fails under 512 MiB).
    _lower(resource.RLIMIT_DATA, memory)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
