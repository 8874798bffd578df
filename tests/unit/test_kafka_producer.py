"""Deliveries that nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from headrace.triggers.brokers.kafka.producer import acknowledged


async def test_what_became_of_a_delivery_is_returned_or_raised() -> None:
    well, badly = (asyncio.get_running_loop().create_future() for _ in range(2))
    well.set_result("written")
    badly.set_exception(OSError("refused"))
    assert await acknowledged(well) == "written"
    with pytest.raises(OSError, match="refused"):
        await acknowledged(badly)


async def test_a_delivery_that_fails_after_it_was_given_up_is_not_reported() -> None:
    loop, reported = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    batch: asyncio.Future[Any] = loop.create_future()
    waiting = asyncio.ensure_future(acknowledged(asyncio.shield(batch)))  # as aiokafka hands it out
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    batch.set_exception(OSError("too late"))
    del batch
    await asyncio.sleep(0)
    gc.collect()
    assert reported == []
