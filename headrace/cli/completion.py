"""`headrace completion`."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print what has SHELL complete commands and options: eval "$(headrace completion bash)" in its start-up file."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    from headrace.cli import _root  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    # The source alone: click's own check of bash's version would start a shell.
    script = found(_root, {}, "headrace", "_HEADRACE_COMPLETE")
    click.echo(script.source_template % script.source_vars())
    return 0
