"""`headrace dev`: serve the functions of a target while they are being written."""

from headrace.cli.dev.command import command

__all__ = ["command"]
