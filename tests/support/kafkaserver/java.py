"""The Java that runs a broker: 17 or newer, from JAVA_HOME or the path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

OLDEST = 17


class NoBroker(Exception):
    """No broker can be started here; the message says why, and what to install."""


@cache
def java() -> str:
    """The program; `NoBroker` if there is none that is new enough."""
    if shutil.which("setpriv") is None:
        raise NoBroker("there is no setpriv to bind a broker's life to ours: install it (Debian: util-linux)")
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin") if home else None
    program = program or shutil.which("java")
    if program is None:
        raise NoBroker("there is no java: install Java 17 or newer (Debian: default-jre-headless)")
    said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < OLDEST:
        raise NoBroker(f"{program} is not Java {OLDEST} or newer: {said.strip()[:200]}")
    return program
