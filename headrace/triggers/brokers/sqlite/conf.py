"""What a topic is set to, as its row keeps it: JSON in the column `conf`."""

from __future__ import annotations

import json
from functools import lru_cache

from headrace.runtime.ports import TopicSpec


def conf_of(spec: TopicSpec) -> str:
    """The `conf` of a topic that is made with this spec."""
    return json.dumps(_settings(spec))


def altered(conf: str, spec: TopicSpec) -> str:
    """The `conf` of a topic that is altered to this spec. Settings this version does not know stay as they are."""
    wanted = {name: value for name, value in _settings(spec).items() if name != "max_bytes" or value}
    return json.dumps(json.loads(conf) | wanted)


@lru_cache(1024)
def spec_of(name: str, partitions: int, conf: str) -> TopicSpec:
    """The spec a topic was made with, or last altered to. Settings this version does not know are left out."""
    kept = json.loads(conf)
    return TopicSpec(
        name,
        partitions,
        kept.get("retention_ms"),
        kept.get("retention_bytes"),
        kept.get("cleanup", "delete"),
        kept.get("max_bytes"),
    )


def _settings(spec: TopicSpec) -> dict[str, int | str | None]:
    return {
        "retention_ms": spec.retention_ms,
        "retention_bytes": spec.retention_bytes,
        "cleanup": spec.cleanup,
        "max_bytes": spec.max_bytes,
    }
