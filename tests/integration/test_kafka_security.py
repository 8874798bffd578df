"""Getting in to a secured cluster, and what is said of each way in that does not work."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafkaclient import Runtime, append, fresh, persist, polled, quick, values
from kafkaserver import KafkaServer, Security
from kafkaserver.certificates import Certificates, make_certificates
from pydantic import SecretStr

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import Settlement, Store, TopicSpec
from headrace.runtime.sections import KafkaSection
from headrace.triggers.brokers.kafka import KafkaLog
from headrace.triggers.brokers.kafka.tls import alert_at
from headrace.triggers.url import open_broker


@asynccontextmanager
async def opened(bootstrap: str, **settings: Any) -> AsyncIterator[Store]:
    store = await open_broker(f"kafka://{bootstrap}", kafka=KafkaSection(**settings))
    try:
        yield store
    finally:
        await store.close()


def scram(security: Security, user: str = "carol", password: str | None = None, number: int = 512) -> dict[str, Any]:
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": f"SCRAM-SHA-{number}",
        "sasl_username": user,
        "sasl_password": SecretStr(password or security.passwords.get(user, "")),
        "ssl_cafile": security.ca,
    }


def plain(security: Security, user: str = "alice", password: str | None = None) -> dict[str, Any]:
    login = {"sasl_mechanism": "PLAIN", "sasl_username": user}
    word = SecretStr(password or security.passwords[user])
    return {"security_protocol": "SASL_PLAINTEXT", "sasl_password": word, **login}


def printed(token: str) -> dict[str, Any]:
    command = SecretStr(shlex.join([sys.executable, "-c", f"print({token!r})"]))
    return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER", "sasl_token_command": command}


Attempt = tuple[str, dict[str, Any]]

REFUSALS: dict[str, tuple[Callable[[Security, KafkaServer, Path], Attempt], str]] = {
    "wrong password by SCRAM": (
        lambda s, _k, _f: (s.sasl_ssl, scram(s, password="hunter2")),
        "as 'carol' refused the login with SCRAM-SHA-512 .*see that kafka.sasl_username and HEADRACE_KAFKA__SASL_PASS",
    ),
    "wrong password by PLAIN": (
        lambda s, _k, _f: (s.sasl_plaintext, plain(s, password="hunter2")),
        r"as 'alice' refused the login with PLAIN \(Authentication failed: Invalid username or password\)",
    ),
    "unknown user": (
        lambda s, _k, _f: (s.sasl_ssl, scram(s, "zed", "hunter2", 256)),
        "as 'zed' refused the login with SCRAM-SHA-256",
    ),
    "unknown authority": (
        lambda s, _k, _f: (s.ssl, {"security_protocol": "SSL"}),
        r"shows a certificate that cannot be verified \(.*\): set kafka.ssl_cafile",
    ),
    "wrong host name": (  # 127.1 is 127.0.0.1, and is not in the certificate
        lambda s, _k, _f: (
            s.ssl.replace("127.0.0.1", "127.1"),
            {"security_protocol": "SSL", "ssl_cafile": s.ca},
        ),
        "shows a certificate of another host .*127.1.*: use a name that is in the certificate",
    ),
    "TLS to a plain port": (
        lambda s, k, _f: (k.bootstrap, {"security_protocol": "SSL", "ssl_cafile": s.ca}),
        "speaks no TLS at this port: .* set kafka.security_protocol = 'PLAINTEXT'",
    ),
    "TLS to a plain port with a login": (
        lambda s, _k, _f: (s.sasl_plaintext, scram(s)),
        "speaks no TLS at this port: .* set kafka.security_protocol = 'SASL_PLAINTEXT'",
    ),
    "plain to a TLS port": (
        lambda s, _k, _f: (s.ssl, {}),
        "speaks TLS at this port: set kafka.security_protocol = 'SSL'",
    ),
    "plain with a login to a TLS port": (
        lambda s, _k, _f: (s.sasl_ssl, plain(s)),
        "speaks TLS at this port: set kafka.security_protocol = 'SASL_SSL'",
    ),
    "no login where one is wanted": (
        lambda s, _k, _f: (s.sasl_plaintext, {}),
        r"wants a login \(.*SCRAM-SHA-512.*\): set kafka.security_protocol = 'SASL_PLAINTEXT' and kafka.sasl_mech",
    ),
    "TLS without the login that is wanted": (
        lambda s, _k, _f: (s.sasl_ssl, {"security_protocol": "SSL", "ssl_cafile": s.ca}),
        r"wants a login \(.*PLAIN.*\): set kafka.security_protocol = 'SASL_SSL'",
    ),
    "a login where there is none": (
        lambda s, k, _f: (k.bootstrap, plain(s)),
        "has no login at this port: set kafka.security_protocol = 'PLAINTEXT'",
    ),
    "no client certificate": (
        lambda s, _k, _f: (s.mutual_ssl, {"security_protocol": "SSL", "ssl_cafile": s.ca}),
        "wants a client certificate .*: set kafka.ssl_certfile and kafka.ssl_keyfile",
    ),
    "client certificate of another authority": (
        lambda s, _k, f: (s.mutual_ssl, {"security_protocol": "SSL", "ssl_cafile": s.ca, **foreign(f)}),
        "refused our certificate .*: see that kafka.ssl_certfile is one that the cluster trusts",
    ),
    "expired token": (
        lambda s, _k, _f: (s.sasl_plaintext, printed(s.token("bob", lifetime=-10))),
        "refused the token: see that it has not expired",
    ),
    "no token": (
        lambda s, _k, _f: (s.sasl_plaintext, printed("hunter2")),
        "refused the token",
    ),
}


def foreign(folder: Path) -> dict[str, Any]:
    made = make_certificates(folder / "foreign", "mallory")
    return {"ssl_certfile": made.client_cert, "ssl_keyfile": made.client_key}


@pytest.mark.parametrize("name", REFUSALS)
async def test_each_refusal_says_which_and_what_to_do(secured_kafka, tmp_path, caplog, name):
    caplog.set_level(logging.DEBUG)
    attempt, message = REFUSALS[name]
    bootstrap, settings = attempt(secured_kafka.security, secured_kafka, tmp_path)
    with pytest.raises(BrokerError, match=message) as caught:
        async with opened(bootstrap, **settings):
            pass
    assert not isinstance(caught.value, BrokerUnavailable), "trying again would not help"
    assert "hunter2" not in str(caught.value) + caplog.text


def slow_to_refuse(listener: socket.socket, certificates: Certificates) -> None:
    """A broker that wants a client certificate, and takes its time to say that there was none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    speaker = context.wrap_bio(incoming, outgoing, server_side=True)
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(1 << 16):
            incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                try:
                    speaker.do_handshake()
                except ssl.SSLWantReadError:
                    raise
                except ssl.SSLError:
                    time.sleep(1.5)  # noqa: TID251  (nothing is waited for: it is slow)
            connection.sendall(outgoing.read())


async def test_a_broker_that_is_slow_to_refuse_a_certificate_is_heard(tmp_path):
    certificates = make_certificates(tmp_path, "carol")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(slow_to_refuse, listener, certificates))
        context = ssl.create_default_context(cafile=certificates.ca)
        assert await alert_at(listener.getsockname(), context) == "CERTIFICATE_REQUIRED"
        await serving


@pytest.mark.parametrize("own_kafka", [{}], indirect=True)
async def test_a_broker_that_went_away_is_unavailable(own_kafka):
    await asyncio.to_thread(own_kafka.stop)
    with pytest.raises(BrokerUnavailable, match="cannot be reached: nothing listens there; see that it runs"):
        async with opened(own_kafka.bootstrap):
            pass


async def test_a_broker_that_hangs_is_unavailable_in_bounded_time(own_kafka):
    await asyncio.to_thread(own_kafka.freeze)
    with pytest.raises(BrokerUnavailable, match=r"did not answer in time; it is tried again\. If that"):
        await KafkaLog.open(quick(own_kafka.bootstrap, timeout_s=1.0))


@pytest.fixture(scope="module")
def one_mechanism(tmp_path_factory: pytest.TempPathFactory, secured_kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker that takes only SCRAM-SHA-256. (The shared one sees that brokers can be had here.)"""
    only = {f"listener.name.{name}.sasl.enabled.mechanisms": "SCRAM-SHA-256" for name in ("sasl", "saslssl")}
    with KafkaServer(tmp_path_factory.mktemp("one-mechanism"), secured=True, properties=only) as server:
        yield server


async def test_a_mechanism_that_is_not_enabled_is_told_with_those_that_are(one_mechanism):
    security = one_mechanism.security
    told = "does not take kafka.sasl_mechanism = 'PLAIN'; it takes SCRAM-SHA-256$"
    with pytest.raises(BrokerError, match=told):
        async with opened(security.sasl_plaintext, **plain(security)):
            pass


async def test_brokers_that_say_an_address_that_cannot_be_reached_are_told_of(tmp_path, secured_kafka):
    """The usual one with containers: the bootstrap address works, and those that the cluster gives do not."""
    lying = KafkaServer(tmp_path, properties={"advertised.listeners": "PLAINTEXT://127.0.0.1:1"})
    await asyncio.to_thread(lying.start)
    try:
        told = (
            r"Kafka at 127.0.0.1:1 cannot be reached: nothing listens.* what the cluster itself says: advertised.list"
        )
        with pytest.raises(BrokerUnavailable, match=told):
            async with opened(lying.bootstrap):
                pass
    finally:
        await asyncio.to_thread(lying.stop)


# -- rights -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def topic(secured_kafka) -> str:
    """A topic with one record, which nobody but the super user may see."""
    name = fresh("orders")
    async with opened(secured_kafka.bootstrap) as store:
        await store.ensure([TopicSpec(name, 1)])
        await store.append([append(name, b"1")])
    return name


async def allow(server: KafkaServer, *rules: tuple[str, str, str]) -> None:
    for operation, resource, name in rules:
        await asyncio.to_thread(server.grant, "carol", operation, resource, name)


async def test_a_topic_one_may_not_see_does_not_exist_and_the_right_to_see_it_is_named(secured_kafka, topic):
    async with opened(secured_kafka.security.sasl_ssl, **scram(secured_kafka.security)) as store:
        with pytest.raises(
            BrokerError, match=r"does not exist on this cluster.*no right to \(DESCRIBE\) cannot be seen"
        ):
            await store.append([append(topic, b"2")])
        with pytest.raises(BrokerError, match=f"making .* does not allow it: grant CREATE on topic '{topic}'"):
            await store.ensure([TopicSpec(topic, 1)])
        await allow(secured_kafka, ("create", "topic", topic))
        with pytest.raises(BrokerError, match=f"as 'carol' does not allow it: grant DESCRIBE on topic '{topic}'"):
            await store.ensure([TopicSpec(topic, 1)])


@pytest.mark.parametrize("others", [[], ["some-other-topic"]], ids=["nowhere", "elsewhere"])
async def test_a_missing_right_to_write_is_named(secured_kafka, topic, others):
    user = fresh("erin")
    await asyncio.to_thread(secured_kafka.add_user, user, "erin-pw")
    for name in (topic, *others):
        await asyncio.to_thread(secured_kafka.grant, user, "write" if name in others else "read", "topic", name)
    async with opened(secured_kafka.security.sasl_ssl, **scram(secured_kafka.security, user, "erin-pw")) as store:
        told = f"writing to .* as '{user}' does not allow it: grant WRITE on topic '{topic}'"
        with pytest.raises(BrokerError, match=told):
            await store.append([append(topic, b"2")])


async def test_a_missing_right_to_read_is_named(secured_kafka, topic):
    await allow(secured_kafka, ("write", "topic", topic))
    async with opened(secured_kafka.security.sasl_ssl, **scram(secured_kafka.security)) as store:
        with pytest.raises(BrokerError, match=f"as 'carol' does not allow it: grant READ on topic '{topic}'"):
            await store.read((topic, 0), 0, 10)


async def test_a_missing_right_to_a_group_is_named(secured_kafka, topic):
    await allow(secured_kafka, ("read", "topic", topic))
    group = fresh("shop.f")
    async with opened(secured_kafka.security.sasl_ssl, **scram(secured_kafka.security)) as store:
        assert isinstance(store, KafkaLog)
        with pytest.raises(
            BrokerError, match=f"joining group .*: grant READ on group '{group}'; `headrace topics plan`"
        ):
            await Runtime().join(store, group, topic)


async def test_a_right_taken_away_in_the_middle_is_named_and_progress_stays(secured_kafka, topic):
    group = fresh("shop.f")
    await allow(secured_kafka, ("read", "topic", topic), ("read", "group", group))
    async with opened(secured_kafka.security.sasl_ssl, **scram(secured_kafka.security)) as store:
        assert isinstance(store, KafkaLog)
        runtime = Runtime()
        await runtime.join(store, group, topic)
        epoch = runtime.owned[topic, 0].epoch
        await asyncio.to_thread(secured_kafka.revoke, "carol", "read", "topic", topic)
        with pytest.raises(BrokerError, match=rf"committing .*: grant READ on topic '{topic}'"):
            await store.settle(Settlement(group, (topic, 0), epoch, 1, b"progress", []))
        await allow(secured_kafka, ("read", "topic", topic))
        assert await store.lag(group) == []


# -- tokens that expire -----------------------------------------------------------------------------------------------


async def test_connections_that_end_with_their_token_are_made_anew_with_another_one(tmp_path, secured_kafka):
    """A broker ends connections whose login is over (KIP-368); aiokafka does not log in again on the same one."""
    properties = {"connections.max.reauth.ms": "1000"}
    server = KafkaServer(tmp_path / "kafka", secured=True, properties=properties)
    await asyncio.to_thread(server.start)
    try:
        await _live_through_logins(server, tmp_path)
    finally:
        await asyncio.to_thread(server.stop)


async def _live_through_logins(server: KafkaServer, folder: Path) -> None:
    logins = folder / "logins"
    answer = json.dumps({"access_token": server.security.token("admin"), "expires_in": 0})  # got for each connection
    script = f"echo x >> {logins}; echo {shlex.quote(answer)}"
    settings = {**printed(""), "sasl_token_command": SecretStr(shlex.join(["sh", "-c", script])), "session_timeout": 6}
    topic, group, sent = fresh("orders"), fresh("shop.f"), 0
    async with opened(server.security.sasl_plaintext, **settings) as store:
        assert isinstance(store, KafkaLog)
        await store.ensure([TopicSpec(topic, 1)])
        runtime = Runtime()
        member = await runtime.join(store, group, topic)
        first = count(logins)
        while count(logins) < first + 6:
            await persist(partial(store.append, [append(topic, b"%d" % sent)]), store)
            sent += 1
            await persist(partial(settle, store, runtime, group, topic, sent), store)
        found = await polled(member, lambda found: b"%d" % (sent - 1) in values(found))
        assert list(dict.fromkeys(values(found))) == [b"%d" % n for n in range(sent)]
        assert [lag.committed for lag in await store.lag(group)] == [sent]


def count(lines: Path) -> int:
    return len(lines.read_text().splitlines())


async def settle(store: KafkaLog, runtime: Runtime, group: str, topic: str, watermark: int) -> None:
    epoch = runtime.owned[topic, 0].epoch
    await store.settle(Settlement(group, (topic, 0), epoch, watermark, b"progress", []))
