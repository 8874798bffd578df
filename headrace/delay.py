"""When an event is to enter its topic."""

from __future__ import annotations

import math
from datetime import datetime

from headrace.functions.errors import EmitRefused

_LONGEST_MS = 10 * 366 * 86_400_000


def due_ms(delay: object, not_before: object, now_ms: int) -> int:
    """The time in milliseconds since 1970, rounded up; 0 for at once, which is also what lies in the past.

    `delay` is a number of seconds, `not_before` a `datetime` with a zone; None is neither. Raises `EmitRefused` for
    anything else, for both at once, and for a time more than ten years ahead.
    """
    if delay is not None and not_before is not None:
        raise EmitRefused("delay and not_before say the same thing in two ways: give one of them")
    if delay is not None:
        due = now_ms + _milliseconds(delay)
    elif not_before is not None:
        due = _moment(not_before)
    else:
        return 0
    if due - now_ms > _LONGEST_MS:
        raise EmitRefused("an event can be kept back for ten years at most; delay is in seconds")
    return due if due > now_ms else 0


def _milliseconds(delay: object) -> int:
    if isinstance(delay, int | float) and 0 <= delay < math.inf:
        return math.ceil(delay * 1000)
    raise EmitRefused(f"delay={delay!r} is no number of seconds, 0 or more")


def _moment(moment: object) -> int:
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        return math.ceil(moment.timestamp() * 1000)
    raise EmitRefused(f"not_before={moment!r} is no time with a zone; write for example datetime.now(UTC) + …")
