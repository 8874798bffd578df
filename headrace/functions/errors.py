"""The one error tree.

Every message says what is wrong, where, and what to do; the command line prints it as it is and exits 1. An error of
another library is translated at the adapter that met it, with its cause chained.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Something headrace cannot do; the message says what is wrong, where, and what to do."""


class DeclarationError(HeadraceError):
    """A `@function` declaration is wrong; the message begins with its file and line."""


class TargetError(HeadraceError):
    """The target (file, folder or module) cannot be found, cannot be imported, or holds no function."""


class SettingsError(HeadraceError):
    """A setting is unknown, malformed or contradicts another."""


class EmitRefused(HeadraceError):
    """An event cannot be written as asked: topic not declared, data not encodable, too large.

    Raised where the event is emitted. If a handler lets it pass, the invocation fails and is not retried: the next
    attempt would be refused the same way.
    """


class BrokerError(HeadraceError):
    """The broker cannot do what was asked of it."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached or opened at the moment; trying again may help."""


class UnknownTopic(BrokerError):
    """The topic does not exist on this broker."""


class Fenced(BrokerError):
    """Another runtime owns the partition now; everything held for it must be dropped, nothing was written."""


class SandboxError(HeadraceError):
    """A worker process could not be started or broke the protocol."""
