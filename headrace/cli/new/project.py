"""A new project: the files of the template, with the app's name in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from headrace.functions.errors import HeadraceError
from headrace.runtime.settings import APP_RULE, Settings, app_of, is_app

# Names in the package, where a file that begins with a dot, or is Python, would be taken for one of headrace's own.
_SUFFIX = ".txt"
_DOTTED = {"gitignore": ".gitignore", "dockerignore": ".dockerignore"}
_HARMLESS = {".git", ".venv", "venv"}  # there before a project is
_SHOWN = 5


def name_for(folder: Path, given: str | None) -> str:
    """The app's name: as given, else the folder's. Wrong usage if the given one is none."""
    if given is not None and not is_app(given):
        raise click.BadParameter(f"{given!r}: an app's name is {APP_RULE}", param_hint="--name")
    return given or app_of(Settings.model_construct(app=None), folder)


def make(folder: Path, app: str) -> list[str]:
    """Write the project; the names of its files. Raises `HeadraceError` for what is no empty folder."""
    _check(folder)
    written = []
    try:
        for name, text in sorted(_template(files("headrace.cli.new") / "template")):
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("{{app}}", app).replace("{{image}}", _image(app)), encoding="utf-8")
            written.append(name)
    except OSError as error:
        raise HeadraceError(f"{folder}: the project cannot be written: {error}") from error
    return written


def _check(folder: Path) -> None:
    try:
        found = sorted(path.name for path in folder.iterdir() if path.name not in _HARMLESS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HeadraceError(f"{folder}: no project can be made here: {error.strerror}") from error
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise HeadraceError(
            f"{folder} is not empty: {', '.join(found[:_SHOWN])}{more}; name a folder that is, or that is not there yet"
        )


def _template(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        name = entry.name.removesuffix(_SUFFIX)
        if entry.is_dir():
            yield from _template(entry, f"{prefix}{name}/")
        elif entry.name.endswith(_SUFFIX):
            yield prefix + _DOTTED.get(name, name), entry.read_text(encoding="utf-8")


def _image(app: str) -> str:
    """The app's name as an image may be named: in small letters, and with a letter or digit at either end."""
    return re.sub(r"[^a-z0-9]+", "-", app.lower()).strip("-") or "app"
