"""Rights: which one was lacking, when Kafka does not allow something. Its own answer names neither it nor, often, what
it is on; but it is known what we were doing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiokafka import errors

_TOPIC, _GROUP, _CLUSTER, _ID = "topic", "group", "cluster", "transactional id"

# By what is refused and by the first word of what we were doing; "" for whatever else.
_OPERATIONS = {
    _TOPIC: {
        "writing": "WRITE",
        "settling": "WRITE",
        "making": "CREATE",
        "altering": "ALTER and ALTER_CONFIGS",
        "deleting": "DELETE",
        "asking": "DESCRIBE",
        "waiting": "DESCRIBE",
        "": "READ",
    },
    _GROUP: {"asking": "DESCRIBE", "": "READ"},
    _CLUSTER: {"making": "CREATE", "": "DESCRIBE"},
    _ID: {"": "WRITE"},
}
_KINDS: dict[type[errors.KafkaError], str] = {
    errors.TopicAuthorizationFailedError: _TOPIC,
    errors.GroupAuthorizationFailedError: _GROUP,
    errors.ClusterAuthorizationFailedError: _CLUSTER,
    errors.TransactionalIdAuthorizationFailed: _ID,
}
_QUOTED = re.compile(r"'([^']+)'")
_A_GROUP = re.compile(r"group '[^']+'")


def lacking(error: BaseException, doing: str) -> str | None:
    """The right that was lacking while `doing` something, as in "WRITE on topic 'emails'"; None for other errors."""
    kind = next((kind for type_, kind in _KINDS.items() if isinstance(error, type_)), None)
    if kind is None:
        return None
    if kind == _CLUSTER and doing.startswith("writing"):  # whoever may write to some topic may be idempotent
        some = lacking(errors.TopicAuthorizationFailedError(), doing)
        return f"{some} (before Kafka 3.0: IDEMPOTENT_WRITE on the cluster)"
    operations = _OPERATIONS[kind]
    operation = operations.get(doing.partition(" ")[0], operations[""])
    if kind == _CLUSTER:
        return f"{operation} on the cluster"
    names = ", ".join(repr(name) for name in _names(error, kind, doing))
    return f"{operation} on {kind} {names}" if names else f"{operation} on the {kind}"


def _names(error: BaseException, kind: str, doing: str) -> Iterable[str]:
    """What it is on: as the error says, else as we do."""
    said = error.args[0] if error.args and kind != _ID else None  # of an id it only says that it is one
    if isinstance(said, str):
        return _QUOTED.findall(said) or [said.removeprefix(f"{kind} ").partition(" ")[0].partition("/")[0]]
    if isinstance(said, Iterable):
        return sorted(map(str, said))
    return _QUOTED.findall(_A_GROUP.sub("", doing) if kind == _TOPIC else doing)
