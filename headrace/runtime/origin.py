"""Origin headers: what a record of ours says of the event it is a copy of, whether for another attempt or set aside."""

from __future__ import annotations

from headrace.runtime.ports import Record
from headrace.sandbox.headers import Header
from headrace.sandbox.wire import Origin


def origin_headers(record: Record, origin: Origin, *, function: str, code: str, attempt: int) -> list[Header]:
    """Where the event lay first and when, whose event it is, that code's fingerprint, and which attempt this is."""
    return [
        ("headrace-origin-topic", origin.topic.encode()),
        ("headrace-origin-partition", b"%d" % origin.partition),
        ("headrace-origin-offset", b"%d" % origin.offset),
        ("headrace-origin-timestamp", b"%d" % record.timestamp),
        ("headrace-function", function.encode()),
        ("headrace-code", code.encode()),
        ("headrace-attempt", b"%d" % attempt),
    ]
