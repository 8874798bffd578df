"""What to do where a client is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip the test; fail it where HEADRACE_REQUIRE_KAFKA=1."""
    if os.environ.get("HEADRACE_REQUIRE_KAFKA") == "1":
        pytest.fail(f"HEADRACE_REQUIRE_KAFKA=1, but {reason}")
    pytest.skip(reason)
