"""The command line. One file per command; each is imported only when it is run, so that `--help` is quick."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from headrace import __version__
from headrace.cli import streams

# Name, and what `headrace --help` says of it. The module `headrace.cli.<name>` holds the command as `command`.
_COMMANDS = {
    "demo": "See it work: orders in, confirmation e-mails out, failures handled.",
    "new": "Make a small working project.",
    "run": "Run all functions of a target.",
    "dev": "Run them while you write them: reload on save, a line for each event.",
    "emit": "Append events to a topic.",
    "tail": "Read a topic.",
    "functions": "List the functions of a target, their options and schemas.",
    "invoke": "Run one function once, in its sandbox: with your data, a sample or a past event.",
    "status": "What each function does, and why.",
    "lag": "How far each function is behind.",
    "topics": "List, create, alter and delete topics; what a Kafka cluster needs for a target.",
    "log": "Back up, check and compact the embedded log.",
    "dlq": "Dead letters: list them, show them, have them handled once more.",
    "pause": "Have a function stand still.",
    "resume": "Have a paused function go on.",
    "reset": "Have a function go on from somewhere else.",
    "doctor": "Whether all that running needs is there.",
    "config": "The settings in force, and who says each.",
    "completion": "Have a shell complete commands and options.",
}


_LOST = "make room there, or send it elsewhere. What was done before it stays done"


class _Commands(click.Group):
    # click calls these with its context, which none of them needs.
    # ruff: noqa: ARG002
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"headrace.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            import_module("headrace.cli.options").here()
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if streams.lost() is not error:
                raise
            return 0  # `headrace tail … | head`: the reader has gone, and that is fine

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and (near := get_close_matches(args[0], _COMMANDS, n=1)):
            raise click.UsageError(f"No such command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="headrace")
def _root() -> None:
    """headrace leads event streams to small Python functions.

    Start with: headrace demo
    """


def cli(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit code. Errors of the one tree are printed as one message, never as a traceback."""
    try:
        result: Any = _root.main(arguments, prog_name="headrace", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if streams.lost() is not error:
            raise
        click.echo(f"headrace: stdout cannot be written to: {error.strerror}; {_LOST}", err=True)
        return 1
    except Exception as error:
        if (message := _explained(error)) is None:
            raise
        click.echo(f"headrace: {message}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _explained(error: Exception) -> str | None:
    from headrace.functions.errors import HeadraceError  # noqa: PLC0415  (only needed when something failed)

    return str(error) if isinstance(error, HeadraceError) else None
