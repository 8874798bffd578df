"""Provenance: each setting in force, and who says it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic_settings import EnvSettingsSource, PyprojectTomlConfigSettingsSource, TomlConfigSettingsSource

from headrace.runtime.settings import Settings, app_of

HIDDEN = "…"
DEFAULT = "default"

_PATH = tuple[str, ...]


class Setting(NamedTuple):
    """A setting's name with dots, its value as JSON has it (secrets hidden), and its source."""

    name: str
    value: Any
    source: str


def provenance(settings: Settings, folder: Path, given: Mapping[str, Any]) -> list[Setting]:
    """All settings in force in `folder`. `given` is what the command line gave, as for `read_settings`."""
    said = _said(folder, given)
    found = []
    for path, value in _leaves(settings, ()):
        source = next((source for paths, source in said if path in paths), None)
        found.append(Setting(".".join(path), _shown(value), _named(source, path)))
    return [_app(settings, folder, one) if one.name == "app" else one for one in found]


def _said(folder: Path, given: Mapping[str, Any]) -> list[tuple[set[_PATH], str]]:
    """What each source says something of, in the order in which they win."""
    environment = EnvSettingsSource(Settings)()
    files = (TomlConfigSettingsSource(Settings), PyprojectTomlConfigSettingsSource(Settings))
    return [
        ({(name,) for name, value in given.items() if value is not None}, "command line"),
        (set(_paths(environment)), "environment"),
        *((set(_paths(file())), str(folder / name)) for file, name in zip(files, _FILES, strict=True)),
    ]


_FILES = ("headrace.toml", "pyproject.toml")


def _paths(document: Mapping[str, Any], above: _PATH = ()) -> Iterator[_PATH]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, name))
        else:
            yield (*above, name)


def _leaves(value: BaseModel | Mapping[str, Any], above: _PATH) -> Iterator[tuple[_PATH, Any]]:
    """Settings with their values; below a name that the user chose, only what is set."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields if above in _WHOLE else value.model_fields_set
        items = [(name, getattr(value, name)) for name in type(value).model_fields if name in fields]
    else:
        items = sorted(value.items())
    for name, item in items:
        if isinstance(item, BaseModel | Mapping):
            yield from _leaves(item, (*above, name))
        else:
            yield (*above, name), item


_WHOLE: tuple[_PATH, ...] = ((), ("kafka",))


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _named(source: str | None, path: _PATH) -> str:
    if source != "environment":
        return source or DEFAULT
    wanted = f"HEADRACE_{'__'.join(path)}".casefold()
    return next((name for name in os.environ if name.casefold() == wanted), "environment")


def _app(settings: Settings, folder: Path, setting: Setting) -> Setting:
    """Without a name of its own an app is called after its project or folder."""
    if settings.app is not None:
        return setting
    return setting._replace(value=app_of(settings, folder), source="default: the project's name, else the folder's")
