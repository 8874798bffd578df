"""Settings: from the command line, the environment, `headrace.toml`, and `[tool.headrace]` in `pyproject.toml`.

In this order, the first that says something wins. An unknown key or variable is an error that names it.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from headrace.functions.declare import Options
from headrace.functions.errors import SettingsError
from headrace.runtime.overrides import FunctionSection
from headrace.runtime.ports import TopicSpec
from headrace.runtime.sections import KafkaSection, TopicSection
from headrace.runtime.variables import PREFIX, strangers

DEFAULT_BROKER = "sqlite:.headrace/log.db"
_TABLE = ("tool", "headrace")


class Settings(BaseSettings):
    """What an operator may set. `HEADRACE_APP`, `HEADRACE_BROKER`, … in the environment.

    `app` is the first part of consumer groups and of derived topics. `drain` is the seconds that running events get
    to finish on SIGTERM. `kafka` matters only to a broker of that kind. `topics` says, by name, what those are made
    with that are not there yet. `defaults` and `functions`, by name, set options of functions (see `overrides`).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        toml_file="headrace.toml",
        pyproject_toml_table_header=_TABLE,
    )

    app: str | None = None
    broker: str = DEFAULT_BROKER
    target: str | None = None
    drain: Annotated[float, Gt(0)] = 25.0
    kafka: KafkaSection = KafkaSection()
    topics: dict[str, TopicSection] = {}
    defaults: FunctionSection = FunctionSection()
    functions: dict[str, FunctionSection] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of the sources; `.env` files are not read."""
        _ = dotenv_settings, file_secret_settings
        files = (TomlConfigSettingsSource(settings_cls), PyprojectTomlConfigSettingsSource(settings_cls))
        return (init_settings, env_settings, *files)


def read_settings(folder: Path, **given: Any) -> Settings:
    """The settings in force in `folder` (the current one), with what the command line gave (None: not given).

    Raises `SettingsError` for unknown keys and variables, and for malformed values or files.
    """
    if unknown := _strangers():
        raise SettingsError(f"{_SOURCES}: {'; '.join(unknown)}")
    _check_files(folder)
    try:
        settings = Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        # Without its cause: that has the values in it, and one may be a password.
        raise SettingsError(f"{_SOURCES}: {'; '.join([*_unknown(error), *_malformed(error)])}") from None
    except UnreadableVariable as error:
        raise SettingsError(f"{_SOURCES}: {error}: a section is set key by key, as in HEADRACE_KAFKA__KEY=…") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"headrace.toml or pyproject.toml in {folder} is not valid TOML: {error}") from error
    if settings.app is not None and not is_app(settings.app):
        raise SettingsError(f"app={settings.app!r}: an app's name is {APP_RULE}")
    return settings


def topic_of(settings: Settings, name: str) -> TopicSpec:
    """What the topic of that name is made with."""
    section = settings.topics.get(name)
    return TopicSpec(name) if section is None else section.spec(name)


def is_app(name: str) -> bool:
    """Whether `name` can name an app; it becomes part of topic and group names."""
    return _APP.fullmatch(name) is not None


def app_of(settings: Settings, folder: Path) -> str:
    """The app's name: as set, else the project's name, else the folder's."""
    name = settings.app or _project_name(folder) or Path(os.path.realpath(folder)).name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:60] or "app"


_THE_CODES = frozenset(Options.__annotations__) - frozenset(FunctionSection.model_fields) | {"topics"}
_APP = re.compile(r"[A-Za-z0-9_-]{1,60}")
APP_RULE = "1 to 60 letters, digits, '_' or '-'"
_FILES = ("headrace.toml", "pyproject.toml")
_SOURCES = "settings (command line, HEADRACE_* variables, headrace.toml, [tool.headrace])"


def _check_files(folder: Path) -> None:
    """Raise `SettingsError` for files that are there, and whose settings could not be taken."""
    for name in _FILES:
        if why := _obstacle(folder / name):
            raise SettingsError(f"{folder / name} {why}: make it a TOML file that can be read, or remove it")
    table: Any = _project(folder)
    for depth, name in enumerate(_TABLE, start=1):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise SettingsError(
                f"{folder / 'pyproject.toml'}: {'.'.join(_TABLE[:depth])} is no table: write [tool.headrace]"
            )


def _obstacle(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link that leads nowhere" if path.is_symlink() else ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(mode):
        return "is no file"
    return "" if os.access(path, os.R_OK) else "may not be read by this user"


def _strangers() -> list[str]:
    # An empty variable counts as one that is not set.
    names = [name for name, value in os.environ.items() if value]
    sections = {name for name, field in Settings.model_fields.items() if isinstance(field.default, BaseModel | dict)}
    return strangers(names, _keys_of(Settings), sections)


def _unknown(error: ValidationError) -> list[str]:
    """What is said of each key that is none, with the one that was perhaps meant."""
    keys = [item["loc"] for item in error.errors(include_input=False) if item["type"] == "extra_forbidden"]
    return [_no_such(".".join(map(str, key)), _keys_of(Settings)) for key in keys]


def _no_such(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    variable = f"HEADRACE_{key.upper().replace('.', '__')}"
    if key.startswith(("defaults.", "functions.")):
        option = key.rpartition(".")[2]
        if option in _THE_CODES:
            return f"there is no setting {key!r}: {option} is the code's to say"
        near = get_close_matches(option, FunctionSection.model_fields, n=1)
    return f"there is no setting {key!r} ({variable}){f'; did you mean {near[0]!r}?' if near else ''}"


def _keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
        keys += _keys_of(kind, f"{prefix}{name}.") if is_section else [f"{prefix}{name}"]
    return keys


def _malformed(error: ValidationError) -> list[str]:
    others = [item for item in error.errors(include_input=False) if item["type"] != "extra_forbidden"]
    return [f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}" for item in others]


def _project_name(folder: Path) -> str | None:
    project = _project(folder).get("project")
    name = project.get("name") if isinstance(project, dict) else None
    return name if isinstance(name, str) else None


def _project(folder: Path) -> dict[str, Any]:
    """What `pyproject.toml` says; nothing if it cannot be read."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
