"""Where user code is: what a person writes after `headrace run`, turned into a `wire.Target`. Imports nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.functions.errors import TargetError
from headrace.sandbox.wire import Target

_BEGIN = "write one there, or say which file, folder or module to run"


def find_target(text: str | None, cwd: Path) -> Target:
    """The target that `text` names: a file, a folder or a dotted module; without one, what lies in `cwd`.

    Raises `TargetError` for what is not there. Whether it can be imported and holds a function, a worker finds out.
    """
    try:
        found = _here(cwd) if text is None else _named(text, cwd)
        f"{found.path}{found.root}".encode()
    except OSError as error:
        place = cwd if text is None else text
        raise TargetError(
            f"{place} cannot be looked at: {error.strerror}; check the path and its permissions"
        ) from error
    except UnicodeEncodeError as error:
        raise TargetError(f"{text or cwd}: its path is not UTF-8 text: rename the file or folder") from error
    return found


def _named(text: str, cwd: Path) -> Target:
    path = cwd / os.path.expanduser(text)  # noqa: PTH111  (pathlib's raises where there is no such home)
    if path.exists() or os.sep in text or text.endswith(".py"):
        return _path(text, path)
    if all(part.isidentifier() for part in text.split(".")):
        return Target("module", text, str(cwd.resolve()))
    raise TargetError(
        f"{text}: there is no such file or folder in {cwd}, and it is no module name either; "
        "name a .py file, a folder of them, or a dotted module"
    )


def _here(cwd: Path) -> Target:
    file, folder = cwd / "functions.py", cwd / "functions"
    if file.is_file():
        return _file(file)
    if folder.is_dir() and has_modules(folder):
        return _folder(folder)
    raise TargetError(f"no functions found: there is neither functions.py nor functions/ in {cwd.resolve()}; {_BEGIN}")


def _path(text: str, path: Path) -> Target:
    if path.is_dir():
        if not has_modules(path):
            raise TargetError(f"{text}: the folder {path.resolve()} holds no Python module; {_BEGIN}")
        return _folder(path)
    if not path.exists():
        raise TargetError(f"{text}: there is no {path}; check the path, or leave it out to run what is here")
    if path.suffix != ".py" or not path.is_file():
        raise TargetError(f"{text}: {path} is no Python file; name a .py file, a folder of them, or a dotted module")
    return _file(path)


def _file(path: Path) -> Target:
    file = path.resolve()
    return Target("file", str(file), str(file.parent))


def _folder(path: Path) -> Target:
    folder = path.resolve()
    root = folder.parent if (folder / "__init__.py").is_file() else folder
    return Target("folder", str(folder), str(root))


def has_modules(folder: Path) -> bool:
    """Whether a folder is a package, or holds modules to be loaded."""
    return (folder / "__init__.py").is_file() or any(modules_in(folder))


def modules_in(folder: Path) -> list[Path]:
    """The modules of a folder that is no package: its .py files, sorted, without hidden and underscored ones."""
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith((".", "_")) and path.is_file())
