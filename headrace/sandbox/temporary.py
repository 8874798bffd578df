"""Temporary folders."""

from __future__ import annotations

import tempfile
from pathlib import Path

from headrace.functions.errors import SandboxError


def temporary_folder(prefix: str) -> Path:
    """A new one, which only this user may look into. Raises `SandboxError` if none can be made."""
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise SandboxError(
            f"no temporary folder can be made: {error.strerror}; set TMPDIR to a folder with room that this user may "
            "write to"
        ) from error
