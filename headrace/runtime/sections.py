"""Sections of the settings: what one kind of broker is told beyond its URL, and what topics are like.

The first is data here, and means nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from headrace.runtime.ports import TopicSpec
from headrace.runtime.quantity import FOREVER, UNLIMITED, bytes_of, milliseconds_of

Seconds = Annotated[float, Gt(0)]


def _in_capitals(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _replicas(number: int) -> int:
    if number < 1 and number != -1:
        raise ValueError("a number of replicas, or -1 for the broker's default")
    return number


def _quantity(read: Callable[[str], int]) -> Any:
    """A setting that is a quantity as people write it, or that says that there is no limit."""
    return BeforeValidator(lambda value: None if value in (FOREVER, UNLIMITED) else read(str(value)))


class TopicSection(BaseModel):
    """What a topic is made with, if it is not there yet. `retention` is in milliseconds, None is for ever."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partitions: Annotated[int, Field(ge=1)] | None = None
    retention: Annotated[int | None, _quantity(milliseconds_of)] = None
    retention_bytes: Annotated[int | None, _quantity(bytes_of)] = None
    cleanup: Literal["delete", "compact", "compact,delete"] = "delete"

    def spec(self, name: str) -> TopicSpec:
        """The topic of that name."""
        return TopicSpec(name, self.partitions, self.retention, self.retention_bytes, self.cleanup)


class KafkaSection(BaseModel):
    """How Apache Kafka is reached and used. What is None is left to the defaults of the broker room.

    `sasl_token_command` prints the token for OAUTHBEARER, or JSON with `access_token` and `expires_in` (seconds);
    `sasl_token_function` is `module:function`, which returns the same. Paths are of PEM files, relative to the current
    folder. `session_timeout`, `rebalance_timeout` and `max_poll_interval` are in seconds. `replication_factor` of -1
    is the broker's own default. Passwords and the command, which may hold some, are never shown.
    """

    # Nothing here may end in a message with its value: it may be the password, in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_in_capitals)
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None, BeforeValidator(_in_capitals)
    ] = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_token_command: SecretStr | None = None
    sasl_token_function: str | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_key_password: SecretStr | None = None
    session_timeout: Seconds | None = None
    rebalance_timeout: Seconds | None = None
    max_poll_interval: Seconds | None = None
    replication_factor: Annotated[int, AfterValidator(_replicas)] | None = None
    instance_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] | None = None
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] | None = None
