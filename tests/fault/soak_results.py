"""Figures of the long forms (`make soak`), a line of JSON each, in `soak/results.jsonl`; the last run is committed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

SOAK = os.environ.get("HEADRACE_SOAK") == "1"  # read before the tests' clean environment
_RESULTS = Path(__file__).parent / "soak" / "results.jsonl"


def keep(test: str, **figures: float | str) -> None:
    """Note the figures of a long run; those of a short one are of no interest."""
    if not SOAK:
        return
    _RESULTS.parent.mkdir(exist_ok=True)
    line = {"at": time.strftime("%Y-%m-%d %H:%M"), "test": test, **figures}
    with _RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
