"""A promise that was not kept."""

from __future__ import annotations


class BrokenPromise(AssertionError):
    """What must never happen did."""
