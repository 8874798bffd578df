"""Loading a target, in a worker only: import it, find its declarations, understand them.

Whatever is wrong with user code is the user's to mend, so it becomes a `Broken` whose message names file and line and
shows nothing of headrace's own frames.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from headrace.functions.declare import Declaration, declaration_of
from headrace.functions.errors import DeclarationError, HeadraceError
from headrace.functions.names import dead_letter_topic_of
from headrace.functions.options import Discard
from headrace.functions.signature import Handler, check_names, read_signature
from headrace.sandbox.failure import failure_of, frames_of, message_of, type_name
from headrace.sandbox.manifest import Manifest
from headrace.sandbox.outcome import Failure
from headrace.sandbox.remedy import remedy_of
from headrace.sandbox.sources import Sources
from headrace.sandbox.specification import spec_of
from headrace.sandbox.target import modules_in
from headrace.sandbox.usercode import UserCode, file_of, loaded
from headrace.sandbox.wire import Broken, Target

_HAS_PLACE = re.compile(r"\S[^\n]*:\d+: ")


@dataclass(frozen=True)
class Loaded:
    """A target that was imported: its functions by name, which files are its own, and its fingerprint."""

    handlers: dict[str, Handler]
    user_code: UserCode
    code: str

    def manifest(self) -> Manifest:
        """What it declares, as data."""
        return Manifest([spec_of(handler) for handler in self.handlers.values()], self.code)


class Unserviceable(Exception):
    """The target cannot serve; `broken` says why."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(broken.failure.message)
        self.broken = broken


def load(target: Target, app: str) -> Loaded:
    """Import the target and read its declarations. Raises `Unserviceable`."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, target.root)
    user_code = UserCode(target.root)
    sources = Sources(user_code)
    sources.install()
    try:
        modules = _import(target, user_code, sources)
        declarations = _declarations(modules)
        _check(declarations, app)
        handlers = {declaration.name: read_signature(declaration) for declaration in declarations}
    except Unserviceable:
        raise
    except HeadraceError as error:
        raise Unserviceable(_misdeclared(error, user_code)) from error
    except BaseException as error:  # SystemExit too: a module that ends the process cannot be served
        raise Unserviceable(_unimportable(error, target, user_code)) from error
    if not handlers:
        raise Unserviceable(_missing(f'{target.path}: holds no function; decorate a handler with @function("topic")'))
    return Loaded(handlers, user_code, user_code.fingerprint(loaded(), sources.read))


# -- importing --------------------------------------------------------------------------------------------------------


def _import(target: Target, user_code: UserCode, sources: Sources) -> list[ModuleType]:
    modules = []
    for module in _modules(target, sources):
        modules.append(module)
        user_code.add(file for file in [file_of(module)] if file)
    return modules


def _modules(target: Target, sources: Sources) -> Iterator[ModuleType]:
    path = Path(target.path)
    if target.kind == "file":
        yield _import_file(path, sources)
    elif target.kind == "folder" and target.root == target.path:
        for file in modules_in(path):
            yield _import_file(file, sources)
    else:
        if target.kind == "folder":
            _refuse_taken(path, path.name)
        yield from _import_package(path.name if target.kind == "folder" else target.path)


def _import_file(path: Path, sources: Sources) -> ModuleType:
    """Import a file as a top-level module, so that its neighbours find it under the name they import."""
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and file_of(known) == str(path):  # a neighbour imported it already
        return known
    _refuse_taken(path, name)
    loader = sources.loader(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise Unserviceable(_missing(f"{path}: is no Python module; name a .py file"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _refuse_taken(path: Path, name: str) -> None:
    if name in sys.modules or name in sys.stdlib_module_names:
        raise Unserviceable(
            _missing(f"{path}: a module named {name!r} is part of Python or of a library in use; rename yours")
        )


def _import_package(name: str) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that it imports
        raise Unserviceable(
            _missing(
                f"{name}: there is no module {error.name!r} in the folder this was started in, nor installed; "
                "correct the name, or give the path of a file or folder"
            )
        ) from error
    yield from _with_submodules(module)


def _with_submodules(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        if not found.name.endswith(".__main__"):  # importing that runs it
            yield from _with_submodules(importlib.import_module(found.name))


# -- declarations -----------------------------------------------------------------------------------------------------


def _declarations(modules: Iterable[ModuleType]) -> list[Declaration]:
    found: dict[int, Declaration] = {}
    for module in modules:
        for value in list(vars(module).values()):
            if (declaration := declaration_of(value)) is not None:
                found[id(declaration)] = declaration
    return list(found.values())


def _check(declarations: list[Declaration], app: str) -> None:
    by_name: dict[str, list[Declaration]] = defaultdict(list)
    for declaration in declarations:
        by_name[declaration.name].append(declaration)
    check_names(by_name)
    check_topics(declarations, app)


def check_topics(declarations: Iterable[Declaration], app: str) -> None:
    """Refuse a dead-letter topic as a function's ordinary input. Raises `DeclarationError`."""
    inputs = {topic: declaration for declaration in declarations for topic in declaration.topics}
    for declaration in declarations:
        topic = declaration.dead_letter or dead_letter_topic_of(app, declaration.name)
        if not isinstance(topic, Discard) and (reader := inputs.get(topic)) is not None:
            raise DeclarationError(
                f"{reader.place}: {reader.name} subscribes to {topic!r}, the dead-letter topic of {declaration.name}: "
                "a redrive would reach it too. Give one of them another topic"
            )


# -- what is wrong ----------------------------------------------------------------------------------------------------


def _missing(message: str) -> Broken:
    return Broken("missing", Failure("TargetError", message))


def _misdeclared(error: HeadraceError, user_code: UserCode) -> Broken:
    message = message_of(error)
    frames = frames_of(error, user_code)
    if frames and not _HAS_PLACE.match(message):
        message = f"{frames[-1].filename}:{frames[-1].lineno}: {message}"
    return Broken("declaration", failure_of(error, user_code, message=message))


def _unimportable(error: BaseException, target: Target, user_code: UserCode) -> Broken:
    frames = frames_of(error, user_code)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else target.path
    what = message_of(error)
    if isinstance(error, SyntaxError) and error.filename is not None:  # of the file that could not be compiled
        place, what = f"{error.filename}:{error.lineno}" if error.lineno else error.filename, error.msg
    lines = [f"{place}: cannot be imported: {type_name(error)}"]
    if what:
        lines[0] += f": {what}"
    if remedy := remedy_of(error, target):
        lines[0] += f"; {remedy}"
    if len(frames) > 1:
        lines += ["".join(frames.format()).rstrip("\n")]
    message = "\n".join(lines)
    return Broken("import", failure_of(error, user_code, message=message))
