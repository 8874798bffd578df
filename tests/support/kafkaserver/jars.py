"""The jars of the broker: resolved by Maven from the pom beside this file, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from kafkaserver.java import NoBroker

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
LOGGING = HERE / "log4j2.properties"
PATIENCE = 600.0  # seconds; a cold download of 43 MB over a slow line


def version() -> str:
    """The pinned version of Kafka."""
    found = ET.parse(POM).findtext(".//{*}kafka.version")
    assert found, f"{POM} names no kafka.version"
    return found


def jars() -> Path:
    """The folder with the jars. It is there whole or not at all; the first of several processes fetches it."""
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else Path.home() / ".cache") / "headrace"
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]  # other jars are other ones, also of the same version
    folder = cache / f"kafka-{version()}-{digest}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".kafka.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoBroker("there is no mvn to fetch the broker with: install Maven (Debian: maven)")
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as work:
        shutil.copy(POM, work)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
        try:
            done = subprocess.run(
                [maven, "-B", "-q", *goal],
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NoBroker(f"Maven did not fetch the broker's jars within {PATIENCE:.0f} s") from error
        if done.returncode:
            raise NoBroker(f"Maven could not fetch the broker's jars: {done.stdout.strip()[-1500:]}")
        (Path(work) / "jars").rename(folder)
