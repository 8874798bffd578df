"""The broker the other tests stand on: it keeps what it acknowledged, and lets in whom it should."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import kafkaserver
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.helpers import create_ssl_context
from kafkaserver import KafkaServer, Security
from kafkaserver.ports import free_ports, is_free
from kafkaserver.source import Broker


@asynccontextmanager
async def producing(bootstrap: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    options = {"acks": "all", "request_timeout_ms": 20_000} | options
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **options)
    try:  # one that could not start must be stopped, too
        await producer.start()
        yield producer
    finally:
        await producer.stop()


async def create(bootstrap: str, *topics: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in topics])
    finally:
        await admin.close()


async def write(bootstrap: str, topic: str, *values: bytes, **options: Any) -> None:
    async with asyncio.timeout(60), producing(bootstrap, **options) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str, last: bytes) -> list[bytes | None]:
    """All values from the beginning to `last`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    values: list[bytes | None] = []
    async with asyncio.timeout(60), consumer:
        while last not in values:
            values.append((await consumer.getone()).value)
    return values


async def test_the_shared_broker_gives_back_what_it_acknowledged(kafka: Broker) -> None:
    await create(kafka.bootstrap, "server-test")
    await write(kafka.bootstrap, "server-test", b"one", b"two")
    assert await read(kafka.bootstrap, "server-test", b"two") == [b"one", b"two"]
    assert kafka.url == f"kafka://{kafka.bootstrap}"


async def test_a_broker_keeps_its_port_and_records_over_restart_and_sigkill_and_survives_being_frozen(
    own_kafka: KafkaServer,
) -> None:
    server, place = own_kafka, own_kafka.bootstrap
    await create(place, "orders")
    await write(place, "orders", b"one")

    await asyncio.to_thread(server.restart)
    await write(place, "orders", b"two")

    await asyncio.to_thread(server.kill)
    assert not server.running
    with pytest.raises(KafkaConnectionError):
        await write(place, "orders", b"lost")
    passing = threading.Thread(target=server.start)
    passing.start()
    passing.join()
    assert await read(place, "orders", b"two") == [b"one", b"two"]

    async with producing(place) as patient, producing(place, request_timeout_ms=2_000) as hasty:
        await patient.send_and_wait("orders", b"three")
        await hasty.partitions_for("orders")
        server.freeze()
        going_on = asyncio.create_task(patient.send_and_wait("orders", b"four"))
        with pytest.raises((KafkaTimeoutError, RequestTimedOutError)):
            await hasty.send_and_wait("orders", b"perhaps")
        server.thaw()
        await going_on
    assert [value for value in await read(place, "orders", b"four") if value != b"perhaps"] == [
        *(b"one", b"two", b"three", b"four")
    ]


@contextmanager
def started_by_hand(folder: Path, *before: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`make kafka` with `folder` for temporary files, serving; and its port. `before` is what starts it."""
    (port,) = free_ports(1)
    command = [*before, sys.executable, "-m", "kafkaserver", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(Path(kafkaserver.__file__).parents[1]), "TMPDIR": str(folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == f"kafka://127.0.0.1:{port}\n"
            yield process, port
        finally:
            process.kill()


IGNORING = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # as a script's background jobs have it


@pytest.mark.usefixtures("kafka")
@pytest.mark.parametrize(
    ("how", "before"),
    [(signal.SIGTERM, []), (signal.SIGINT, []), (signal.SIGINT, IGNORING)],
    ids=["SIGTERM", "SIGINT", "SIGINT ignored"],
)
def test_a_broker_started_by_hand_tells_its_url_and_leaves_nothing_behind(
    how: signal.Signals, before: list[str], tmp_path: Path
) -> None:
    with started_by_hand(tmp_path, *before) as (process, port):
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert f"export HEADRACE_BROKER=kafka://127.0.0.1:{port}" in err
    assert not list(tmp_path.iterdir())
    assert is_free(port)


@pytest.mark.usefixtures("kafka")
def test_a_broker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with (
        started_by_hand(tmp_path) as (process, port),
        socket.create_connection(("127.0.0.1", port), 30) as connection,
    ):
        process.kill()
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


class Token(AbstractTokenProvider):
    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token


def password(mechanism: str, user: str, word: str) -> dict[str, Any]:
    return {"sasl_mechanism": mechanism, "sasl_plain_username": user, "sasl_plain_password": word}


def bearer(token: str) -> dict[str, Any]:
    return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Token(token)}


def right_logins(security: Security) -> Iterable[dict[str, Any]]:
    yield password("PLAIN", "alice", security.passwords["alice"])
    yield password("SCRAM-SHA-256", "carol", security.passwords["carol"])
    yield password("SCRAM-SHA-512", "carol", security.passwords["carol"])
    yield bearer(security.token("frank"))


def wrong_logins(security: Security) -> Iterable[dict[str, Any]]:
    for mechanism, user in (("PLAIN", "alice"), ("SCRAM-SHA-256", "carol"), ("SCRAM-SHA-512", "carol")):
        yield password(mechanism, user, "wrong")
    yield bearer(security.token("frank", lifetime=-60))


def sasl_plaintext(security: Security) -> tuple[str, dict[str, Any]]:
    return security.sasl_plaintext, {"security_protocol": "SASL_PLAINTEXT"}


def sasl_ssl(security: Security) -> tuple[str, dict[str, Any]]:
    context = create_ssl_context(cafile=str(security.ca))
    return security.sasl_ssl, {"security_protocol": "SASL_SSL", "ssl_context": context}


@pytest.mark.parametrize("listener", [sasl_plaintext, sasl_ssl])
async def test_a_sasl_listener_takes_the_right_credentials_and_refuses_the_wrong_ones(
    secured_kafka: KafkaServer, listener: Callable[[Security], tuple[str, dict[str, Any]]]
) -> None:
    bootstrap, options = listener(secured_kafka.security)
    topic = f"login-{options['security_protocol']}"
    await create(secured_kafka.bootstrap, topic)
    for user in ("alice", "carol", "frank"):
        await asyncio.to_thread(secured_kafka.grant, user, "write", "topic", topic)
    for login in right_logins(secured_kafka.security):
        await write(bootstrap, topic, b"in", **options, **login)
    for login in wrong_logins(secured_kafka.security):
        # aiokafka takes the refusal of a token for consent, and then finds no topic.
        with pytest.raises((KafkaConnectionError, UnknownTopicOrPartitionError)):
            await write(bootstrap, topic, b"out", request_timeout_ms=2_000, **options, **login)
    await write(secured_kafka.bootstrap, topic, b"last")
    assert await read(secured_kafka.bootstrap, topic, b"last") == [*[b"in"] * 4, b"last"]


async def test_tls_listeners_prove_who_they_are_and_one_asks_for_a_certificate(secured_kafka: KafkaServer) -> None:
    security = secured_kafka.security
    trusting = create_ssl_context(cafile=str(security.ca))
    known = create_ssl_context(
        cafile=str(security.ca), certfile=str(security.client_cert), keyfile=str(security.client_key)
    )
    await create(secured_kafka.bootstrap, "tls")
    await asyncio.to_thread(secured_kafka.grant, "dave", "all", "topic", "tls")

    await write(security.ssl, "tls", b"1", security_protocol="SSL", ssl_context=trusting)
    await write(security.mutual_ssl, "tls", b"2", security_protocol="SSL", ssl_context=known)
    with pytest.raises(KafkaConnectionError):
        await write(security.ssl, "tls", b"3", security_protocol="SSL", ssl_context=ssl.create_default_context())
    with pytest.raises(KafkaConnectionError):
        await write(security.mutual_ssl, "tls", b"4", security_protocol="SSL", ssl_context=trusting)
    assert await read(secured_kafka.bootstrap, "tls", b"2") == [b"1", b"2"]


async def test_a_user_may_do_what_is_granted_until_it_is_revoked(secured_kafka: KafkaServer) -> None:
    bootstrap, options = sasl_plaintext(secured_kafka.security)
    erin = {**options, **password("SCRAM-SHA-512", "erin", "erin-pw")}
    await create(secured_kafka.bootstrap, "granted")
    await asyncio.to_thread(secured_kafka.add_user, "erin", "erin-pw")
    with pytest.raises(TopicAuthorizationFailedError):
        await write(bootstrap, "granted", b"not yet", **erin)

    await asyncio.to_thread(secured_kafka.grant, "erin", "write", "topic", "grant", "prefixed")
    await write(bootstrap, "granted", b"now", **erin)
    await asyncio.to_thread(secured_kafka.revoke, "erin", "write", "topic", "grant", "prefixed")
    with pytest.raises(TopicAuthorizationFailedError):
        await write(bootstrap, "granted", b"no more", **erin)
    assert await read(secured_kafka.bootstrap, "granted", b"now") == [b"now"]
