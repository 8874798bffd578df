"""Brokers for tests. None is started before a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from kafkaserver.java import NoBroker
from kafkaserver.server import KafkaServer
from kafkaserver.source import Broker, fetch, require_java, shared_broker

# As the run was called: each test has its HEADRACE_* taken away.
_ENVIRONMENT = dict(os.environ)
_FIXTURES = {"kafka", "own_kafka", "secured_kafka"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what a broker needs before the tests, whose time is limited; a run that needs none fetches nothing."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())} & _FIXTURES
    if wanted and not session.config.option.collectonly:
        with suppress(NoBroker):
            fetch(_ENVIRONMENT)


@contextmanager
def _skipping() -> Iterator[None]:
    """Without a broker the test is skipped, or fails where HEADRACE_REQUIRE_KAFKA=1."""
    try:
        yield
    except NoBroker as reason:
        if _ENVIRONMENT.get("HEADRACE_REQUIRE_KAFKA") == "1":
            pytest.fail(f"HEADRACE_REQUIRE_KAFKA=1, but: {reason}")
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker that all tests share: use topics and groups of your own."""
    with ExitStack() as stack:
        with _skipping():
            broker = stack.enter_context(shared_broker(tmp_path_factory.mktemp("kafka"), _ENVIRONMENT))
        yield broker


@pytest.fixture(scope="session")
def _jars() -> None:
    with _skipping():
        require_java()


@pytest.fixture
def own_kafka(_jars: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KafkaServer]:
    """A running broker of this test's own, to restart, kill and freeze.

    With other properties: `@pytest.mark.parametrize("own_kafka", [{"message.max.bytes": "5000"}], indirect=True)`.
    """
    with KafkaServer(tmp_path / "kafka", properties=getattr(request, "param", {})) as server:
        yield server


@pytest.fixture(scope="session")
def secured_kafka(_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A running broker with SASL, TLS and access rules, shared: grant on topics and groups of your own."""
    server = KafkaServer(tmp_path_factory.mktemp("secured-kafka"), secured=True)
    with ExitStack() as stack:
        with _skipping():
            stack.enter_context(server)
        yield server
