"""What holds for every test: a clean environment, and no verdict that depends on how busy the machine is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from lab import Lab, open_lab

pytest_plugins = ["kafkaserver.fixtures"]

# A slow machine is no failure: no deadline for one example, no complaint about slow generation.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# The gate says of a change whether it is right, by the same examples each time; to find others is what all else is for.
settings.register_profile("gate", settings.get_profile("search"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "search"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take `HEADRACE_*` out of the environment; `HEADRACE_REQUIRE_*` says what the gate must have."""
    for name in os.environ:
        if name.startswith("HEADRACE_") and not name.startswith("HEADRACE_REQUIRE_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """Starts workers of what is written into a folder of its own."""
    async with open_lab(tmp_path) as opened:
        yield opened
