"""What users write against: declarations, context, retry policy. Knows nothing of processes or brokers."""

from headrace.functions.context import Context
from headrace.functions.declare import Declaration, function
from headrace.functions.emits import INHERIT
from headrace.functions.errors import (
    BrokerError,
    BrokerUnavailable,
    DeclarationError,
    EmitRefused,
    Fenced,
    HeadraceError,
    SandboxError,
    SettingsError,
    TargetError,
    UnknownTopic,
)
from headrace.functions.event import Event
from headrace.functions.options import Batch, Breaker, Discard, Sandbox
from headrace.functions.outcome import Reject, RetryAfter
from headrace.functions.retry import Retry

__all__ = [
    "INHERIT",
    "Batch",
    "Breaker",
    "BrokerError",
    "BrokerUnavailable",
    "Context",
    "Declaration",
    "DeclarationError",
    "Discard",
    "EmitRefused",
    "Event",
    "Fenced",
    "HeadraceError",
    "Reject",
    "Retry",
    "RetryAfter",
    "Sandbox",
    "SandboxError",
    "SettingsError",
    "TargetError",
    "UnknownTopic",
    "function",
]
