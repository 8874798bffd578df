"""The text of server.properties: one node, fast to start, quick to notice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# What is slow or large by default because a cluster of many machines wants it so.
FAST = {
    "offsets.topic.num.partitions": "4",  # 50 make the first group of a broker slow
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # A broker that was killed may not register again before its old session ends.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(4 << 20),
    "log.index.size.max.bytes": str(1 << 20),
}


def single_node(listeners: Mapping[str, int], controller: int) -> dict[str, str]:
    """A broker that is its own controller. Listeners: name to port of 127.0.0.1; the first is for itself, too."""
    places = [f"{name}://127.0.0.1:{port}" for name, port in listeners.items()]
    own = f"CONTROLLER://127.0.0.1:{controller}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": ",".join([*places, own]),
        "advertised.listeners": ",".join([*places, own]),
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": next(iter(listeners)),
        **FAST,
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write them in the form Java reads."""
    lines = [f"{name}={value}".replace("\\", "\\\\") for name, value in properties.items()]
    path.write_text("\n".join(lines) + "\n")
