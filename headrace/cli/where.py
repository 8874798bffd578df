"""Where in the log: a topic that is there, and in it earliest, latest, an offset, or a time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from headrace.runtime.ports import Admin, Bounds, Partition, Reader, TopicInfo


_DIGITS = 19  # no offset has more


def is_offset(text: str) -> bool:
    """Whether it is a number as large as an offset can be."""
    return text.isdecimal() and len(text) <= _DIGITS


async def known_topic(admin: Admin, name: str) -> TopicInfo:
    """The topic of that name. Raises `UnknownTopic`, with those that there are, and the one that was perhaps meant."""
    from headrace.functions.errors import UnknownTopic  # noqa: PLC0415
    from headrace.functions.names import meant  # noqa: PLC0415

    topics = await admin.topics()
    if name not in topics:
        known = ", ".join(sorted(topics)) or "none yet"
        raise UnknownTopic(f"topic {name!r} does not exist{meant(name, topics)}; the topics are: {known}")
    return topics[name]


async def offset_at(reader: Reader, partition: Partition, bounds: Bounds, where: str, *, hint: str) -> int:
    """The offset that `where` means in a partition, within its bounds; `hint` is the option it was given with."""
    match where:
        case "earliest":
            return bounds.start
        case "latest":
            return bounds.end
        case offset if offset.isdecimal():
            return max(bounds.start, bounds.end if len(offset) > _DIGITS else min(int(offset), bounds.end))
        case moment:
            return await reader.offset_at(partition, _timestamp_ms(moment, hint))


def _timestamp_ms(moment: str, hint: str) -> int:
    try:
        return round(datetime.fromisoformat(moment).timestamp() * 1000)
    except (ValueError, OverflowError):  # the latter for a time of here that UTC has no year for
        raise click.BadParameter(
            f"{moment!r} is not earliest, latest, an offset or a time like 2026-01-31T12:00", param_hint=hint
        ) from None
