"""What the kernel says of a process's memory."""

from __future__ import annotations

import re
from pathlib import Path

_SHARED = re.compile(r"^RssShmem:\s+(\d+) kB$", re.MULTILINE)


def shared_bytes(pid: int) -> int:
    """Bytes of shared memory in use by a process, which RLIMIT_DATA does not count; 0 if it is gone or unknown."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = _SHARED.search(status)
    return int(found[1]) * 1024 if found else 0
