"""Security: from what an operator has set to what aiokafka's clients take; what contradicts itself is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from headrace.functions.errors import SettingsError
from headrace.runtime.sections import KafkaSection
from headrace.triggers.brokers.kafka.bearer import bearer_of
from headrace.triggers.brokers.kafka.tls import context_of


def security_of(section: KafkaSection, root: Path) -> dict[str, Any]:
    """The keyword arguments of aiokafka's clients that begin with `security_`, `ssl_` or `sasl_`.

    Raises `SettingsError`, naming the setting and the remedy.
    """
    for demand in _DEMANDS:
        if demand.is_broken(section):
            raise SettingsError(demand.refusal.format(**_shown(section)))
    arguments: dict[str, Any] = {"security_protocol": section.security_protocol}
    if uses_tls(section):
        arguments["ssl_context"] = context_of(section, root)
    if _logs_in(section):
        arguments |= {"sasl_mechanism": section.sasl_mechanism, **_credentials(section)}
    return arguments


def uses_tls(section: KafkaSection) -> bool:
    """Whether connections are encrypted."""
    return section.security_protocol.endswith("SSL")


def _credentials(section: KafkaSection) -> dict[str, Any]:
    if section.sasl_mechanism == "OAUTHBEARER":
        return {"sasl_oauth_token_provider": bearer_of(section)}
    assert section.sasl_password is not None
    return {
        "sasl_plain_username": section.sasl_username,
        "sasl_plain_password": section.sasl_password.get_secret_value(),
    }


class _Demand(NamedTuple):
    """What settings must not be like, and what is said then."""

    is_broken: Callable[[KafkaSection], bool]
    refusal: str


def _logs_in(section: KafkaSection) -> bool:
    return section.security_protocol.startswith("SASL_")


def _has_password(section: KafkaSection) -> bool:
    return section.sasl_username is not None and section.sasl_password is not None


def _has_login(section: KafkaSection) -> bool:
    login = (section.sasl_mechanism, section.sasl_username, section.sasl_password)
    return any(one is not None for one in login) or _tokens(section) > 0


def _tokens(section: KafkaSection) -> int:
    return sum(one is not None for one in (section.sasl_token_command, section.sasl_token_function))


def _is_bearer(section: KafkaSection) -> bool:
    return section.sasl_mechanism == "OAUTHBEARER"


def _has_files(section: KafkaSection) -> bool:
    return any(one is not None for one in (section.ssl_cafile, section.ssl_certfile, section.ssl_keyfile))


def _shown(section: KafkaSection) -> dict[str, str | None]:
    return {"protocol": section.security_protocol, "mechanism": section.sasl_mechanism}


# In this order: the first one that is broken is told.
_DEMANDS = (
    _Demand(
        lambda section: _has_login(section) and not _logs_in(section),
        "a login to Kafka is set (kafka.sasl_…), but kafka.security_protocol is {protocol}, which has none: set it to "
        "SASL_SSL (or SASL_PLAINTEXT, without encryption)",
    ),
    _Demand(
        lambda section: _logs_in(section) and section.sasl_mechanism is None,
        "kafka.security_protocol is {protocol}, but kafka.sasl_mechanism is not set: set it to PLAIN, SCRAM-SHA-256, "
        "SCRAM-SHA-512 or OAUTHBEARER",
    ),
    _Demand(
        lambda section: _logs_in(section) and not _is_bearer(section) and not section.sasl_username,
        "kafka.sasl_mechanism is {mechanism}, but kafka.sasl_username is not set: set it, or "
        "HEADRACE_KAFKA__SASL_USERNAME in the environment",
    ),
    _Demand(
        lambda section: _logs_in(section) and not _is_bearer(section) and not _has_password(section),
        "kafka.sasl_mechanism is {mechanism}, but kafka.sasl_password is not set: set "
        "HEADRACE_KAFKA__SASL_PASSWORD in the environment",
    ),
    _Demand(
        lambda section: _is_bearer(section) and _tokens(section) != 1,
        "kafka.sasl_mechanism is OAUTHBEARER, which needs exactly one of kafka.sasl_token_command (a command that "
        "prints the token) and kafka.sasl_token_function (module:function, which returns it)",
    ),
    _Demand(
        lambda section: not _is_bearer(section) and _tokens(section) > 0,
        "kafka.sasl_token_command and kafka.sasl_token_function are for kafka.sasl_mechanism OAUTHBEARER, but it is "
        "{mechanism}: change it, or leave them out",
    ),
    _Demand(
        lambda section: _has_files(section) and not uses_tls(section),
        "files for TLS are set (kafka.ssl_…), but kafka.security_protocol is {protocol}, which has no TLS: set it to "
        "SSL or SASL_SSL, or leave them out",
    ),
    _Demand(
        lambda section: section.ssl_keyfile is not None and section.ssl_certfile is None,
        "kafka.ssl_keyfile is set, but kafka.ssl_certfile is not: set it to the client certificate of that key",
    ),
)


class _NoLogins(logging.Filter):
    """At the level DEBUG aiokafka logs what it sends, the password among it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "SaslAuthenticate" not in record.getMessage()


logging.getLogger("aiokafka.conn").addFilter(_NoLogins())
