"""How the broker is reached and used: one value, of which every client of this room is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.runtime.sections import KafkaSection
from headrace.triggers.brokers.kafka.security import security_of

_HEARTBEAT_S = 3.0


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the cluster is, who we are to it, and how long we wait. Times are in seconds.

    `bootstrap` is `host:port[,host:port]`. `security` holds the keyword arguments of aiokafka's clients that begin with
    `security_`, `ssl_` or `sasl_`; it is never shown. `instance_id` makes members static: a runtime that comes back
    with the same one within `session_timeout_s` causes no rebalance. `timeout_s` bounds every call.
    `replication_factor` and `partitions` of -1 take the broker's own defaults. `compression` is None, `gzip`,
    `snappy`, `lz4` or `zstd`. `has_certificate`: TLS shows one of ours.
    """

    bootstrap: str = "localhost:9092"
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    client_id: str = "headrace"
    instance_id: str | None = None
    timeout_s: float = 20.0
    session_timeout_s: float = 45.0
    heartbeat_s: float = _HEARTBEAT_S
    rebalance_timeout_s: float = 60.0
    max_poll_interval_s: float = 300.0
    metadata_max_age_s: float = 30.0
    replication_factor: int = -1
    partitions: int = -1
    compression: str | None = "snappy"
    batch_bytes: int = 1_000_000
    has_certificate: bool = False

    @property
    def place(self) -> str:
        """The cluster's address and, if it is known, the user that we are there: for messages."""
        user = self.security.get("sasl_plain_username")
        return f"{self.bootstrap} as {user!r}" if user else self.bootstrap

    def client(self) -> dict[str, Any]:
        """What every client takes."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            # One answer may take as long as a whole call: a join waits until all members have come.
            "request_timeout_ms": round(self.timeout_s * 1000),
            "metadata_max_age_ms": round(self.metadata_max_age_s * 1000),
            **self.security,
        }

    def consumer(self) -> dict[str, Any]:
        """What a member of a group takes."""
        return {
            **self.client(),
            "group_instance_id": self.instance_id,
            "session_timeout_ms": round(self.session_timeout_s * 1000),
            "heartbeat_interval_ms": round(self.heartbeat_s * 1000),
            "rebalance_timeout_ms": round(self.rebalance_timeout_s * 1000),
            "max_poll_interval_ms": round(self.max_poll_interval_s * 1000),
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
        }

    def producer(self) -> dict[str, Any]:
        """What a producer takes."""
        return {
            **self.client(),
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": self.compression,
            "max_batch_size": self.batch_bytes,
        }


def settings_of(section: KafkaSection, bootstrap: str, root: Path) -> KafkaSettings:
    """What an operator has set, for the cluster at `bootstrap`; paths are relative to `root`.

    Raises `SettingsError` for what is missing or contradicts itself.
    """
    times = {
        "session_timeout_s": section.session_timeout,
        "rebalance_timeout_s": section.rebalance_timeout,
        "max_poll_interval_s": section.max_poll_interval,
    }
    others: dict[str, Any] = {"replication_factor": section.replication_factor, "instance_id": section.instance_id}
    if section.session_timeout is not None:
        others["heartbeat_s"] = min(_HEARTBEAT_S, section.session_timeout / 3)
    given: dict[str, Any] = {name: value for name, value in {**times, **others}.items() if value is not None}
    if section.compression is not None:
        given["compression"] = None if section.compression == "none" else section.compression
    has_certificate = section.ssl_certfile is not None
    return KafkaSettings(bootstrap, security_of(section, root), has_certificate=has_certificate, **given)
