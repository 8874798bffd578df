"""What helps where user code cannot be imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from headrace.sandbox.wire import Target


def remedy_of(error: BaseException, target: Target) -> str:
    """What to do about what ended an import; empty where only its author can tell."""
    match error:
        case ModuleNotFoundError():
            return _of_missing(error.name or "", target)
        case ImportError() if "relative import" in str(error) and target.kind != "module":
            return _of_relative(Path(target.path))
        case SystemExit():
            return "a module of functions must not end its process: put that under if __name__ == '__main__'"
        case MemoryError():
            return "load what is large in setup=, under the function's own limit"
        case _:
            return ""


def _of_missing(name: str, target: Target) -> str:
    if "." in name and Path(target.root, name.partition(".")[0]).is_dir():
        return "there is no such module in your package: correct the name, or write it"
    return f"install it next to headrace ({os.path.dirname(sys.executable)}), or correct the name"  # noqa: PTH120


def _of_relative(path: Path) -> str:
    """A file is imported by itself, and a folder as a package of its own: neither has a package around it."""
    package = path if path.is_dir() else path.parent
    if not (package / "__init__.py").is_file():
        return "the file is in no package, and finds its neighbours without the dot"
    while (package.parent / "__init__.py").is_file():
        package = package.parent
    return f"the target is part of a package: name all of it, {package}"
