"""The states of a function, and the one it is in."""

from __future__ import annotations

from enum import Enum

from headrace.runtime.hooks import Hooks

BROKER_AWAY = "the broker is away: "
"""How the reason begins for which a function retries because of its broker."""


class State(Enum):
    """What a function is doing. The reason beside it says why."""

    STARTING = "starting"
    RUNNING = "running"
    IDLE = "idle"
    RETRYING = "retrying"
    WAITING_FULL = "waiting-full"
    PAUSED = "paused"
    STOPPED = "stopped"


class Status:
    """The state a function is in. Observers hear of each change once."""

    def __init__(self, function: str, hooks: Hooks) -> None:
        self.state = State.STARTING
        self.reason = ""
        self._function = function
        self._hooks = hooks

    def set(self, state: State, reason: str) -> None:
        """Go to a state; nothing happens if it is the same with the same reason."""
        changed = state is not self.state
        if changed or reason != self.reason:
            self.state, self.reason = state, reason
            if changed or state is State.PAUSED or reason.startswith(BROKER_AWAY):
                self._hooks.function_state(function=self._function, state=state.value, reason=reason)

    def __repr__(self) -> str:
        return f"{self.state.value} ({self.reason})" if self.reason else self.state.value
