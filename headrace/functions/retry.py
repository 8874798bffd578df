"""Retry: how often, how soon. Pure delay maths; who counts and who waits is the runtime's business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from headrace.functions.value import value


@value
class Retry:
    """At most `attempts` failed tries of one event, with growing delays between them.

    Before the n-th retry (n = 1, 2, …) the delay is at most `min(delay * factor**(n - 1), max_delay)` seconds. With
    `jitter="full"` it is drawn uniformly from [0, that], so that a crowd of failures does not come back as a crowd
    (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015); with `"none"` it is exactly that.

    An exception is retried if it is one of `on` and none of `not_on`; else its event is dead-lettered at once.
    `max_age` bounds by time: an event older than that many seconds is not tried again.
    """

    attempts: Annotated[int, Ge(1)] = 3
    delay: Annotated[float, Ge(0)] = 1.0
    factor: Annotated[float, Ge(1)] = 2.0
    max_delay: Annotated[float, Ge(0)] = 60.0
    jitter: Literal["full", "none"] = "full"
    on: tuple[type[BaseException], ...] = (Exception,)
    not_on: tuple[type[BaseException], ...] = ()
    max_age: Annotated[float, Gt(0)] | None = None

    def retries(self, error: BaseException) -> bool:
        """Whether an attempt that raised `error` may be followed by another."""
        return isinstance(error, self.on) and not isinstance(error, self.not_on)


def rule_of(rules: Sequence[Retry], error: BaseException) -> int | None:
    """The number of the first rule that retries `error`; None if none does."""
    return next((number for number, rule in enumerate(rules) if rule.retries(error)), None)


def delay_before(retry: int, *, delay: float, factor: float, max_delay: float, jitter: str, draw: float) -> float:
    """The seconds to wait before the `retry`-th retry (1 is the first), given `draw` from [0, 1).

    >>> delay_before(3, delay=1.0, factor=2.0, max_delay=60.0, jitter="none", draw=0.5)
    4.0
    >>> delay_before(3, delay=1.0, factor=2.0, max_delay=60.0, jitter="full", draw=0.5)
    2.0
    """
    try:
        ceiling = min(delay * factor ** (retry - 1), max_delay)
    except OverflowError:  # 2.0 ** 2000: beyond any ceiling, unless there is nothing to grow
        ceiling = max_delay if delay else 0.0
    return ceiling * draw if jitter == "full" else ceiling
