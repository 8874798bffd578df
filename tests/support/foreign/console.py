"""The console tools of Java's Kafka, and whatever else of it can be run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from kafkaserver.jars import LOGGING, jars
from kafkaserver.java import NoBroker, java

from foreign.absence import absent
from foreign.message import GROUP, PATIENCE, RECORD, UNIT, Message

_FLAGS = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dfile.encoding=UTF-8"]
PARTITIONS = Path(__file__).parent / "Partitions.java"


def require() -> None:
    """Skip where Java's tools cannot be had; fail where they have to be there."""
    if reason := _lacking():
        absent(reason)


def is_there() -> bool:
    """Whether they can be had."""
    return not _lacking()


def require_compiler() -> None:
    """Skip where Java runs classes only, no source; it is nothing that a gate must have."""
    require()
    if "jdk.compiler" not in run(["--list-modules"]).decode():
        pytest.skip("this Java has no compiler: install a JDK (Debian: default-jdk-headless)")


def produce(bootstrap: str, topic: str, messages: Sequence[Message]) -> None:
    """Write with the console producer: text only, no line breaks in it; its partitioner chooses."""
    lines = [UNIT.join((_joined(one) or b"null", _shown(one.key), _shown(one.value))) + b"\n" for one in messages]
    reading = {"parse.headers": "true", "parse.key": "true", "null.marker": "null"}
    separators = {"headers.separator": GROUP, "headers.delimiter": UNIT, "key.separator": UNIT}
    options = _options("--reader-property", reading, separators)
    run(["org.apache.kafka.tools.ConsoleProducer", *_at(bootstrap), "--topic", topic, *options], b"".join(lines))


def lines(bootstrap: str, topics: str, count: int) -> set[bytes]:
    """So many committed records of the topics that a pattern names, as the console consumer prints them."""
    printing = {f"print.{what}": "true" for what in ("key", "headers", "partition", "offset", "timestamp")}
    separators = {"key.separator": UNIT, "headers.separator": GROUP, "line.separator": RECORD}
    options = _options("--formatter-property", printing, separators)
    options += ["--include", topics, "--max-messages", str(count), "--from-beginning", "--timeout-ms", "30000"]
    options += ["--isolation-level", "read_committed"]
    return set(run(["org.apache.kafka.tools.consumer.ConsoleConsumer", *_at(bootstrap), *options]).split(RECORD)) - {
        b""
    }


def as_printed(one: Message) -> bytes:
    """What `lines` has for a record."""
    place = f"CreateTime:{one.timestamp}", f"Partition:{one.partition}", f"Offset:{one.offset}"
    fields = [part.encode() for part in place]
    return UNIT.join([*fields, _joined(one) or b"NO_HEADERS", _shown(one.key), _shown(one.value)])


def run(what: Sequence[str | Path], stdin: bytes = b"") -> bytes:
    """Run a class of Kafka's, or a source file that uses them; what it prints."""
    command = [java(), *_FLAGS, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", f"{jars()}/*", *what]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _lacking() -> str:
    try:
        java()
        jars()
    except NoBroker as reason:
        return str(reason)
    return ""


def _at(bootstrap: str) -> list[str]:
    return ["--bootstrap-server", bootstrap]


def _options(flag: str, *values: dict[str, str] | dict[str, bytes]) -> list[str]:
    pairs = [pair for some in values for pair in some.items()]
    texts = [(name, value.decode() if isinstance(value, bytes) else value) for name, value in pairs]
    return [part for name, text in texts for part in (flag, f"{name}={text}")]


def _joined(one: Message) -> bytes:
    return GROUP.join(name.encode() + b":" + _shown(value) for name, value in one.headers)


def _shown(raw: bytes | None) -> bytes:
    return b"null" if raw is None else raw
