"""What a handler may say about how it ended, beside returning (done) and raising anything else (a failed attempt)."""

from __future__ import annotations

import math


class Reject(Exception):
    """Dead-letter this event now: no attempt will ever succeed. The reason goes with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)  # an exception is given at times


class RetryAfter(Exception):
    """Try this event again in `seconds`. Uses one attempt, is logged as a wait and not as an error."""

    def __init__(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:  # also refuses NaN
            raise ValueError(f"RetryAfter({seconds!r}): seconds must be 0 or more, and not infinite")
        super().__init__(f"again in {seconds} s")
        self.seconds = float(seconds)
