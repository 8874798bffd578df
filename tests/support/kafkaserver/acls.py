"""Access rules and SCRAM users of a running broker, set over its plain listener, whose caller is the super user."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from kafkaserver.wire import Response, call, compact, string

DESCRIBE_ACLS, CREATE_ACLS, DELETE_ACLS, ALTER_SCRAM = 29, 30, 31, 51
RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional_id": 5}
PATTERNS = {"literal": 3, "prefixed": 4}
_NAMED = (
    *("all", "read", "write", "create", "delete", "alter", "describe"),
    *("cluster_action", "describe_configs", "alter_configs", "idempotent_write"),
)
OPERATIONS = {name: number for number, name in enumerate(_NAMED, start=2)}
ALLOW = 3
ITERATIONS = 4096
PATIENCE = 60.0  # seconds until a rule is in force


@dataclass(frozen=True, slots=True)
class Rule:
    """What a user may do."""

    user: str
    operation: str
    resource: str
    name: str
    pattern: str

    def encode(self) -> bytes:
        """As one creation, or as the filter that matches just it: they are written alike."""
        return (
            struct.pack(">b", RESOURCES[self.resource])
            + string(self.name)
            + struct.pack(">b", PATTERNS[self.pattern])
            + string(f"User:{self.user}")
            + string("*")
            + struct.pack(">bb", OPERATIONS[self.operation], ALLOW)
        )


def grant(port: int, rule: Rule) -> None:
    """Create the rule; returns when the broker goes by it."""
    _check(call(port, CREATE_ACLS, 1, _one(rule)), "grant", rule)
    _wait_until(lambda: in_force(port, rule), f"{rule} in force")


def revoke(port: int, rule: Rule) -> None:
    """Delete the rule; returns when the broker no longer goes by it."""
    _check(call(port, DELETE_ACLS, 1, _one(rule)), "revoke", rule)
    _wait_until(lambda: not in_force(port, rule), f"{rule} gone")


def in_force(port: int, rule: Rule) -> bool:
    """Whether the broker's authoriser knows the rule."""
    answer = call(port, DESCRIBE_ACLS, 1, rule.encode())
    answer.take("i")
    error, message = answer.take("h"), answer.text()
    assert not error, f"cannot look up {rule}: {message} (error {error})"
    return answer.take("i") > 0


def add_user(port: int, name: str, password: str) -> None:
    """Set the password of a user for both SCRAM mechanisms; returns when the broker goes by it."""
    # One request for each: Kafka takes no user twice in one.
    for mechanism, algorithm in ((1, "sha256"), (2, "sha512")):
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, ITERATIONS)
        user = compact(name.encode()) + struct.pack(">bi", mechanism, ITERATIONS) + compact(salt) + compact(salted)
        answer = call(port, ALTER_SCRAM, 0, b"\1\2" + user + b"\0\0", flexible=True)
        answer.take("i")
        assert answer.take("B") == 2, "one result was expected"
        answer.compact_text()
        error, message = answer.take("h"), answer.compact_text()
        assert not error, f"cannot add user {name}: {message} (error {error})"
    # The controller has answered; the broker applies things in their order, and tells of rules.
    known = Rule(name, "read", "topic", f"known-{name}", "literal")
    grant(port, known)
    revoke(port, known)


def _one(rule: Rule) -> bytes:
    return struct.pack(">i", 1) + rule.encode()


def _check(answer: Response, doing: str, rule: Rule) -> None:
    answer.take("i")
    assert answer.take("i") == 1
    error, message = answer.take("h"), answer.text()
    assert not error, f"cannot {doing} {rule}: {message} (error {error})"


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.01)  # noqa: TID251  (nobody tells: each look is a connection)
