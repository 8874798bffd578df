"""Names of topics, functions, groups, and the rules they follow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_INTERNAL = re.compile(r"[A-Za-z0-9_-]+\.(control|[A-Za-z_][A-Za-z0-9_-]*\.(dlt|retry\.[0-9a-z]+))")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")

TOPIC_RULE = "1 to 249 letters, digits, '.', '_' or '-' (Kafka's rule), and not '.' or '..'"
FUNCTION_RULE = "a letter or '_', then up to 99 letters, digits, '_' or '-'"


def is_topic(name: str) -> bool:
    """Whether `name` is a topic name on every broker (Kafka's rule, `org.apache.kafka.common.internals.Topic`)."""
    return _TOPIC.fullmatch(name) is not None and name not in {".", ".."}


def is_internal(name: str) -> bool:
    """Whether a topic is named like those that headrace makes for itself: dead letters, retries, control."""
    return _INTERNAL.fullmatch(name) is not None


def is_function(name: str) -> bool:
    """Whether `name` can name a function; with the app it becomes part of topic and group names."""
    return _FUNCTION.fullmatch(name) is not None


def group_of(app: str, function: str) -> str:
    """The consumer group of a function: `<app>.<function>`."""
    return f"{app}.{function}"


def dead_letter_topic_of(app: str, function: str) -> str:
    """The dead-letter topic of a function. Per function, so that a redrive never reaches other subscribers."""
    return f"{app}.{function}.dlt"


def retry_topic_of(app: str, function: str, tier: str) -> str:
    """The topic in which a function's events wait for another attempt for as long as `tier` says."""
    return f"{app}.{function}.retry.{tier}"


def control_topic_of(app: str) -> str:
    """The topic that says what operators want of an app: paused functions, the states of dead letters."""
    return f"{app}.control"


def meant(name: str, known: Iterable[str]) -> str:
    """What a message says behind a name that is none: ` (did you mean 'orders'?)`, or nothing if no other is near."""
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
