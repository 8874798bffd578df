"""Options that several commands share, and the settings they lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def target_argument(function: F) -> F:
    """TARGET: a file, a folder or a dotted module."""
    return click.argument("target", required=False)(function)


def broker_option(function: F) -> F:
    """--broker URL."""
    says = "sqlite:PATH or kafka://HOST:PORT (default: HEADRACE_BROKER, settings)."
    return click.option("--broker", metavar="URL", callback=_not_empty, help=says)(function)


def app_option(function: F) -> F:
    """--app NAME."""
    says = "The app's name (default: settings, project, folder)."
    return click.option("--app", metavar="NAME", callback=_not_empty, help=says)(function)


def _not_empty(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """What was given. Not the default for nothing: perhaps a variable in a script is not set."""
    if given is not None and not given.strip():
        raise click.BadParameter("it is empty; name one, or leave the option out")
    return given


def start_option(function: F) -> F:
    """--start NAME=earliest|latest|TIME, repeated: a dictionary by name."""
    return click.option(
        "--start",
        "starts",
        multiple=True,
        metavar="NAME=WHERE",
        callback=_starts,
        help="Where a function without progress starts: earliest, latest or a time with a zone; may be repeated.",
    )(function)


def _starts(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    from datetime import datetime  # noqa: PLC0415

    starts: dict[str, str] = {}
    for text in given:
        name, sign, where = text.partition("=")
        try:
            fits = where in {"earliest", "latest"} or datetime.fromisoformat(where).tzinfo is not None
        except ValueError:
            fits = False
        if not (name and sign and fits):
            raise click.BadParameter(
                f"{text!r} is not NAME=earliest, NAME=latest or NAME=TIME (like 2026-11-21T12:00:00+00:00)"
            )
        starts[name] = where
    return starts


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def event_options(function: F) -> F:
    """What an event is made of: --key, --type, --header, --raw, --null."""
    for option in (
        click.option("--null", is_flag=True, help="No data: a tombstone."),
        click.option("--raw", is_flag=True, help="DATA is text, not JSON."),
        click.option("--header", "headers", multiple=True, metavar="K=V", help="A header; may be repeated."),
        click.option("--type", "type_", metavar="T", help="The event's type, for example OrderPlaced."),
        click.option("--key", metavar="K", help="The key; events of one key keep their order."),
    ):
        function = option(function)
    return function


def here() -> Path:
    """The current folder. Raises `HeadraceError` if it is not there any more."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        from headrace.functions.errors import HeadraceError  # noqa: PLC0415

        raise HeadraceError("the folder that this was started in is not there any more: cd to one that is") from error


def settings_from(**given: str | None) -> Any:
    """The settings in force here, with what the command line gave."""
    from headrace.runtime.settings import read_settings  # noqa: PLC0415  (pydantic: not for `--help`)

    return read_settings(here(), **given)


def parse_headers(headers: tuple[str, ...]) -> list[tuple[str, str]]:
    """`K=V` pairs in order."""
    pairs = [header.partition("=") for header in headers]
    if bad := next((name for name, sign, _ in pairs if not sign or not name), None):
        raise click.BadParameter(f"{bad!r} is not K=V", param_hint="--header")
    return [(name, value) for name, _, value in pairs]


def parse_data(text: str | None, *, raw: bool, null: bool) -> Any:
    """The data of one event: JSON text as it is, or plain text with `raw`, or None with `null`."""
    from headrace.functions.codec import JsonText  # noqa: PLC0415

    if null:
        if text is not None:
            raise click.UsageError("--null has no DATA")
        return None
    if text is None:
        raise click.UsageError("DATA is missing; give JSON, '-' for stdin, or --null for a tombstone")
    if raw:
        return text
    parse_json(text)
    return JsonText(text.strip())


def parse_json(text: str) -> Any:
    """The value of JSON text. Raises `NotJson`."""
    import json  # noqa: PLC0415

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON value")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"the data is not JSON: {error}; quote it, or use --raw for text") from error


class NotJson(click.ClickException):
    """Data that is not JSON; exit code 1."""

    def show(self, file: Any = None) -> None:
        """Print as every other failure is printed."""
        click.echo(f"headrace: {self.message}", err=True, file=file)
