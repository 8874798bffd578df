"""The request for changing some settings of a topic, which aiokafka lacks (IncrementalAlterConfigs, version 0).

The one it has replaces all of them: what is not said again goes back to the broker's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_KEY = 44
_TEXT = String("utf-8")
_TOPIC = 2
_SET = 0


class _Answer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = _KEY  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    API_VERSION = 0  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(("error_code", Int16), ("error_message", _TEXT), ("resource_type", Int8), ("resource_name", _TEXT)),
        ),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", _TEXT),
                ("configs", Array(("name", _TEXT), ("operation", Int8), ("value", _TEXT))),
            ),
        ),
        ("validate_only", Boolean),
    )


class AlterConfigsRequest(Request[_Question]):  # type: ignore[misc]
    """Sets these settings of a topic, and leaves the others alone."""

    API_KEY = _KEY

    def __init__(self, topic: str, configs: Sequence[tuple[str, str]]) -> None:
        self._topic = topic
        self._configs = configs

    def build(self, request_struct_class: Any) -> Any:
        """See aiokafka's `Request`."""
        configs = [(name, _SET, value) for name, value in self._configs]
        return request_struct_class([(_TOPIC, self._topic, configs)], False)
