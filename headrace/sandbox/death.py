"""How a worker ended."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Literal

Reason = Literal["stopped", "exited", "signalled", "timeout", "memory", "protocol", "zygote"]


@dataclass(frozen=True)
class Death:
    """Why a worker is gone, and what it was doing.

    `reason`: "stopped" (we asked for it), "exited" (it left by itself), "signalled" (a signal took it), "timeout" (an
    event ran past its deadline and did not stop when asked: killed), "memory" (over its limit: killed), "protocol"
    (it sent what no worker sends: killed), "zygote" (its parent process died and took it along).

    `running` holds (chunk id, index in it) of the events that were running, by the worker's own page: an untrusted
    hint. `culprits` are those of them that were past their deadline when the worker was killed for that; none where it
    could not be told (an event held the interpreter while others ran too), and none for any other reason. `output` is
    the end of its stderr, at most 20 lines.
    """

    reason: Reason
    detail: str
    running: tuple[tuple[int, int], ...]
    output: tuple[str, ...]
    culprits: tuple[tuple[int, int], ...] = ()


def explain_status(status: int) -> tuple[Reason, str]:
    """What a wait status says: the reason, and a sentence."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:  # a real-time signal
            name = f"signal {number}"
        return "signalled", f"the worker was killed by {name}"
    return "exited", f"the worker exited by itself with code {os.WEXITSTATUS(status)}"
