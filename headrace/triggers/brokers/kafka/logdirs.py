"""The request for the sizes of partitions on disk, which aiokafka lacks (DescribeLogDirs, versions 1)."""

from __future__ import annotations

from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

_KEY = 35
_TEXT = String("utf-8")


class _Answer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = _KEY  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    API_VERSION = 1  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "log_dirs",
            Array(
                ("error_code", Int16),
                ("log_dir", _TEXT),
                (
                    "topics",
                    Array(
                        ("topic", _TEXT),
                        (
                            "partitions",
                            Array(("partition", Int32), ("size", Int64), ("offset_lag", Int64), ("is_future", Boolean)),
                        ),
                    ),
                ),
            ),
        ),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 1
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(("topics", Array(("topic", _TEXT), ("partitions", Array(Int32)))))


class LogDirsRequest(Request[_Question]):  # type: ignore[misc]
    """Asks a broker for the sizes of all partitions it holds."""

    API_KEY = _KEY

    def build(self, request_struct_class: Any) -> Any:
        """See aiokafka's `Request`. No topics means all."""
        return request_struct_class(None)


def sizes_of(answer: Any) -> dict[tuple[str, int], int]:
    """The size in bytes of each partition in an answer."""
    return {
        (topic, number): size
        for code, _, topics in answer.log_dirs
        if not code
        for topic, partitions in topics
        for number, size, _, is_future in partitions
        if not is_future
    }
