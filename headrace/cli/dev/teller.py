"""Who tells what happens: lines for a person (`console`), or JSON documents (`documents`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from headrace.sandbox.manifest import FunctionSpec


class Teller(Protocol):
    """Observes the engine as a plug-in, and is told the rest by the command."""

    def learn(self, functions: Sequence[FunctionSpec]) -> None:
        """These functions are served from now on."""
        ...

    def notice(self, kind: str, text: str, *, tone: str = "", **fields: Any) -> None:
        """Something happened that is no attempt. `tone` is "good", "warn", "bad" or nothing; `fields` are for JSON."""
        ...

    def close(self) -> None:
        """Tell what was kept back."""
        ...
