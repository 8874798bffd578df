"""What holds for every test: a clean environment, and no verdict that depends on how busy the machine is."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["kafkaserver.fixtures"]

# A slow machine is no failure: no deadline for one example, no complaint about slow generation.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("headrace")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take `HEADRACE_*` out of the environment; `HEADRACE_REQUIRE_*` says what the gate must have."""
    for name in os.environ:
        if name.startswith("HEADRACE_") and not name.startswith("HEADRACE_REQUIRE_"):
            monkeypatch.delenv(name)
