"""Where the shared broker comes from: one that runs already, else Docker, else Java and Maven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kafkaserver.docker import DockerServer, require_docker
from kafkaserver.jars import jars
from kafkaserver.java import NoBroker, java
from kafkaserver.server import KafkaServer

GIVEN = "HEADRACE_TEST_KAFKA"


class Broker(Protocol):
    """What everyone may know of a shared broker."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def url(self) -> str: ...


class LocalBroker(Broker, Protocol):
    """A broker of ours."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def wait(self) -> int: ...
    def log_tail(self) -> str: ...


@dataclass(frozen=True, slots=True)
class GivenBroker:
    """One that somebody else runs."""

    bootstrap: str

    @property
    def url(self) -> str:
        """The bootstrap servers as a URL."""
        return f"kafka://{self.bootstrap}"


def require_java() -> None:
    """`NoBroker` unless a broker can be started from the jars."""
    java()
    jars()


def fetch(environment: Mapping[str, str]) -> None:
    """Have at hand what the brokers of a test run need; `NoBroker` if those of one test's own cannot be started."""
    if not environment.get(GIVEN):
        with suppress(NoBroker):
            require_docker()
    require_java()


def local_broker(folder: Path, port: int | None = None) -> LocalBroker:
    """A broker of the first kind that works here, not started; `NoBroker` says what each kind lacks."""
    try:
        require_docker()
    except NoBroker as no_docker:
        try:
            require_java()
        except NoBroker as no_java:
            raise NoBroker(f"no Kafka broker can be started here: {no_docker}; {no_java}") from no_java
        return KafkaServer(folder, port=port)
    return DockerServer(folder, port=port)


@contextmanager
def shared_broker(folder: Path, environment: Mapping[str, str]) -> Iterator[Broker]:
    """A broker that serves: the one `HEADRACE_TEST_KAFKA` names (`host:port,...`), else a local one."""
    given = environment.get(GIVEN, "").removeprefix("kafka://")
    if given:
        yield GivenBroker(given)
        return
    broker = local_broker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
