"""The zygote: a small process that has imported headrace and forks workers.

Run as `python -I -m headrace.sandbox.zygote FD PARENT` (see `embryo`): its control socket, and the process to end with.
It has one thread, imports no user code, and sees no secret, event or manifest. It adopts what workers leave behind, and
kills it.
"""

from __future__ import annotations

import gc
import os
import select
import shutil
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from headrace.sandbox import policy, worker
from headrace.sandbox.control import Ended, Fork, Forked, Refused, decode_fork, encode, receive
from headrace.sandbox.linux.prctl import adopt_orphans, die_with_parent

_REAPED = 64  # folders of workers that have ended: the parent removes them, unless it is killed before it does


class Zygote:
    """Forks on request, reaps, reports."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._wake, self._waker = socket.socketpair()
        self._workers: dict[int, str] = {}  # and the folder of each
        self._reaped: deque[str] = deque(maxlen=_REAPED)
        self._asked_to_end = False
        for end in (self._wake, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)

    def serve(self) -> None:
        """Until the parent closes its end or dies; nothing that was forked here is left then."""
        with suppress(ConnectionError):  # the parent has died: with answers of ours unread, that is no end of file
            self._serve()
        kill_strays(set())
        for folder in [*self._reaped, *self._workers.values()]:  # the parent would have, had it lived
            shutil.rmtree(folder, ignore_errors=True)

    def _serve(self) -> None:
        self._control.send(encode(Forked(0, os.getpid())))
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._asked_to_end:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake.fileno() in ready:
                self._reap()
            if self._control.fileno() in ready:
                packet, fds = receive(self._control)
                if not packet:
                    break
                self._fork(decode_fork(packet), fds)

    def _fork(self, order: Fork, fds: list[int]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._control.send(encode(Refused(order.number, str(error))))
            pid = -1
        if pid == 0:
            self._become_worker(order, fds, zygote)
        for fd in fds:
            os.close(fd)
        if pid < 0:
            return
        self._workers[pid] = order.folder
        pidfd = os.pidfd_open(pid)  # even if it has died: only `_reap` takes its number away
        socket.send_fds(self._control, [encode(Forked(order.number, pid))], [pidfd])
        os.close(pidfd)

    def _become_worker(self, order: Fork, fds: list[int], zygote: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            for end in (self._control, self._wake, self._waker):
                end.detach()  # the descriptor is closed below; its number may be somebody else's when this object goes
            policy.enter(fds, parent=zygote, memory=order.memory)
            worker.main(policy.IPC, policy.PAGE, order.folder, policy.TERMINAL if len(fds) > 4 else None)
        except BaseException as error:  # noqa: BLE001  (whatever it is, this process must not go on as a zygote)
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(1)
        sys.exit(0)  # through the interpreter's own end: what user code registered with atexit is run

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        ended = []
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                ended.append(found)
        ours = [(pid, status) for pid, status in ended if pid in self._workers]
        for pid, _ in ours:
            self._reaped.append(self._workers.pop(pid))
        if ours:
            kill_strays(set(self._workers))
        for pid, status in ours:
            self._control.send(encode(Ended(pid, status)))

    def _on_term(self, *_: object) -> None:
        self._asked_to_end = True

    def __repr__(self) -> str:
        return f"<Zygote of {len(self._workers)} workers>"


def kill_strays(kept: set[int]) -> None:
    """Kill and reap every child but `kept`: workers that are to go, and processes that workers left behind."""
    while strays := children() - kept:
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
        for pid in strays:  # their own children become ours in turn
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def children() -> set[int]:
    """The direct children of this process; empty on a kernel that does not tell."""
    try:
        return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def main(fd: int, parent: int) -> None:
    """Serve the control socket `fd`; end if the process `parent` does."""
    zygote = Zygote(socket.socket(fileno=fd))
    adopt_orphans()
    die_with_parent(signal.SIGTERM)  # a termination it can answer by killing its own; end of file says the same
    if os.getppid() != parent:
        return
    os.set_inheritable(fd, False)
    worker.preload()
    gc.enable()
    gc.freeze()  # a collection in a worker would touch, and so copy, every page it shares with us
    zygote.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
