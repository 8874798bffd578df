"""The operator: who types, as it is noted beside what they want."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.runtime.control import Said


def said_now(state: str = "") -> Said:
    """A note of this user, now."""
    from headrace.runtime.control import Said  # noqa: PLC0415

    return Said(f"{_user()}@{socket.gethostname()}", datetime.now(UTC).isoformat(timespec="seconds"), state)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without an entry, as in many containers
        return "somebody"
