"""Why there is no sample."""

from __future__ import annotations

from headrace.functions.errors import HeadraceError


class NoSample(HeadraceError):
    """No sample can be made; the message says of what, why, and what to do."""
