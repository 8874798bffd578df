"""`headrace dlq`: dead letters found, shown, and handled once more."""

from headrace.cli.dlq.command import command

__all__ = ["command"]
