"""kcat, a command of its own on librdkafka."""

from __future__ import annotations

import shutil
import subprocess

from foreign.absence import absent
from foreign.message import PATIENCE, RECORD, UNIT, Message


def require() -> None:
    """Skip where there is no kcat; fail where there has to be one."""
    if not is_there():
        absent("there is no kcat: install it (Debian: kcat)")


def is_there() -> bool:
    """Whether it is installed."""
    return shutil.which("kcat") is not None


def run(bootstrap: str, *arguments: str | bytes, stdin: bytes = b"") -> bytes:
    """Run it; what it prints."""
    command = ["kcat", "-b", bootstrap, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def lines(bootstrap: str, topic: str) -> set[bytes]:
    """The records of a topic, as kcat prints them."""
    form = UNIT.join([b"%p", b"%o", b"%T", b"%h", b"%K", b"%k", b"%S", b"%s"]) + RECORD
    quick = ("-X", "fetch.wait.max.ms=10")
    printed = run(bootstrap, "-C", "-t", topic, "-e", "-q", "-o", "beginning", *quick, "-f", form)
    return set(printed.split(RECORD)) - {b""}


def as_printed(one: Message) -> bytes:
    """What `lines` has for a record; header values end at a NUL there."""
    headers = b",".join(name.encode() + b"=" + (b"NULL" if value is None else value) for name, value in one.headers)
    place = [b"%d" % number for number in (one.partition, one.offset, one.timestamp)]
    return UNIT.join([*place, headers, *_sized(one.key), *_sized(one.value)])


def _sized(field: bytes | None) -> tuple[bytes, bytes]:
    return (b"-1", b"") if field is None else (b"%d" % len(field), field)
