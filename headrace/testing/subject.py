"""The subject of a test: the functions it runs, and what they are declared with."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from headrace.functions.declare import Declaration, declaration_of
from headrace.functions.errors import DeclarationError, TargetError
from headrace.functions.signature import Handler, check_names, read_signature
from headrace.runtime.overrides import Overrides
from headrace.runtime.ports import TopicSpec
from headrace.runtime.settings import app_of, read_settings
from headrace.sandbox.loader import Unserviceable, check_topics, load
from headrace.sandbox.manifest import FunctionSpec, Manifest
from headrace.sandbox.specification import spec_of
from headrace.sandbox.target import find_target
from headrace.sandbox.usercode import UserCode

Function = Callable[..., Any] | ModuleType


@dataclass(frozen=True)
class Subject:
    """Functions by name, as an app. `topics` is what those are made with of which the settings say it."""

    app: str
    handlers: Mapping[str, Handler]
    manifest: Manifest
    user_code: UserCode
    topics: Mapping[str, TopicSpec]

    def spec(self, which: Callable[..., Any] | str) -> FunctionSpec:
        """The function that a handler or a name means. Raises `DeclarationError` if it is none of these."""
        declaration = None if isinstance(which, str) else declaration_of(which)
        name = which if isinstance(which, str) else declaration.name if declaration else repr(which)
        for spec in self.manifest.functions:
            if spec.name == name:
                return spec
        raise DeclarationError(f"{name} is no function of this app; it has: {', '.join(self.handlers)}")


def subject_of(functions: Iterable[Function], app: str) -> Subject:
    """The subject that consists of these handlers, and of all handlers of these modules.

    Raises `DeclarationError` for what has no declaration, and as loading a target does.
    """
    found = {id(declaration): declaration for one in functions for declaration in _declarations(one)}
    declarations = list(found.values())
    if not declarations:
        raise DeclarationError("TestApp() needs the functions to run: handlers, or modules that hold some")
    by_name: dict[str, list[Declaration]] = defaultdict(list)
    for declaration in declarations:
        by_name[declaration.name].append(declaration)
    check_names(by_name)
    check_topics(declarations, app)
    handlers = {declaration.name: read_signature(declaration) for declaration in declarations}
    files = [declaration.file for declaration in declarations]
    manifest = Manifest([_from_the_start(spec_of(handler)) for handler in handlers.values()], "test")
    return Subject(app, handlers, manifest, UserCode(str(Path(files[0]).parent), files), {})


def subject_at(target: str | None, folder: Path, app: str | None) -> Subject:
    """The subject that `headrace run` would serve in `folder`, with the options that settings there change.

    Raises `TargetError`, `DeclarationError` or `SettingsError` for the user to mend.
    """
    with chdir(folder):  # settings are those of the current folder
        settings = read_settings(folder, target=target, app=app)
        name = app_of(settings, folder)
        where = find_target(settings.target, folder)
        try:
            with _imports_kept():
                loaded = load(where, name)
        except Unserviceable as error:
            kind = DeclarationError if error.broken.kind == "declaration" else TargetError
            raise kind(error.broken.failure.message) from error
    topics = {topic: section.spec(topic) for topic, section in settings.topics.items()}
    manifest = Overrides(settings.defaults, settings.functions).applied(loaded.manifest())
    specs = [_from_the_start(spec) for spec in manifest.functions]
    handlers = {spec.name: _in_force(loaded.handlers[spec.name], spec) for spec in specs}
    return Subject(name, handlers, Manifest(specs, manifest.code), loaded.user_code, topics)


def _declarations(one: Function) -> list[Declaration]:
    if isinstance(one, ModuleType):
        held = [declaration for value in vars(one).values() if (declaration := declaration_of(value)) is not None]
        if not held:
            raise DeclarationError(f'{one.__name__} holds no function; decorate a handler with @function("topic")')
        return held
    if (declaration := declaration_of(one)) is None:
        raise DeclarationError(f"{one!r} has no declaration; put @function(…) above it")
    return [declaration]


def _from_the_start(spec: FunctionSpec) -> FunctionSpec:
    """Whatever a test emits is meant to be handled."""
    return msgspec.structs.replace(spec, start="earliest")


def _in_force(handler: Handler, spec: FunctionSpec) -> Handler:
    return replace(handler, declaration=replace(handler.declaration, timeout=spec.timeout))


@contextmanager
def _imports_kept() -> Iterator[None]:
    """Loading changes how Python imports, for the life of a worker. Here others go on; what it added to the path stays,
    because handlers import as they run."""
    writes_none, path = sys.dont_write_bytecode, list(sys.path)
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        sys.path[:] = [*(added for added in dict.fromkeys(sys.path) if added not in path), *path]
