"""`headrace demo`: the storefront example, live, with a real SMTP server."""

from headrace.cli.demo.command import command

__all__ = ["command"]
