"""Kafka as an operator sets it up: every way in, access rules as planned, and what is said when it does not work."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Shell
from kafkaserver import KafkaServer

from headrace.producer import connect

FUNCTIONS = """
from headrace import Context, Retry, function

@function("{app}-orders", emits="{app}-mails", order="none", retry=Retry(attempts=2, delay=0.05))
def confirm(order: dict, ctx: Context) -> None:
    if order["id"] == "bad" or (order["id"] == "later" and ctx.attempt == 1):
        raise ValueError("not now")
    ctx.emit("{app}-mails", {{"to": order["id"]}})

@function("{app}-mails", emits="{app}-sent", guarantee="effectively-once")
def send(mail: dict, ctx: Context) -> None:
    ctx.emit("{app}-sent", {{"sent": mail["to"]}})
"""
_NUMBERS = itertools.count()

Way = Callable[[KafkaServer, Path], tuple[str, dict[str, str]]]


def kafka(**settings: object) -> dict[str, str]:
    return {f"HEADRACE_KAFKA__{name.upper()}": str(value) for name, value in settings.items()}


def _password(user: str, mechanism: str) -> Way:
    def way(server: KafkaServer, _folder: Path) -> tuple[str, dict[str, str]]:
        security = server.security
        login = {"sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": security.passwords[user]}
        return security.sasl_ssl, kafka(security_protocol="SASL_SSL", ssl_cafile=security.ca, **login)

    return way


def _token(server: KafkaServer, folder: Path) -> tuple[str, dict[str, str]]:
    answer = {"access_token": server.security.token("bob"), "expires_in": 3600}
    (folder / "token.json").write_text(json.dumps(answer))
    login = {"sasl_mechanism": "OAUTHBEARER", "sasl_token_command": "cat token.json"}
    return server.security.sasl_plaintext, kafka(security_protocol="SASL_PLAINTEXT", **login)


def _token_function(server: KafkaServer, folder: Path) -> tuple[str, dict[str, str]]:
    (folder / "signer.py").write_text(f"def token():\n    return {server.security.token('bob')!r}, 900\n")
    login = {"sasl_mechanism": "OAUTHBEARER", "sasl_token_function": "signer:token"}
    place = {"security_protocol": "SASL_SSL", "ssl_cafile": server.security.ca}
    return server.security.sasl_ssl, {**kafka(**place, **login), "PYTHONPATH": str(folder)}


def _certificate(server: KafkaServer, _folder: Path) -> tuple[str, dict[str, str]]:
    security = server.security
    files = {"ssl_cafile": security.ca, "ssl_certfile": security.client_cert, "ssl_keyfile": security.client_key}
    return security.mutual_ssl, kafka(security_protocol="SSL", **files)


WAYS: dict[str, tuple[str, Way]] = {
    "PLAIN": ("alice", _password("alice", "PLAIN")),
    "SCRAM-SHA-256": ("carol", _password("carol", "SCRAM-SHA-256")),
    "SCRAM-SHA-512": ("carol", _password("carol", "SCRAM-SHA-512")),
    "OAUTHBEARER by command": ("bob", _token),
    "OAUTHBEARER by function": ("bob", _token_function),
    "client certificate": ("dave", _certificate),
}


@pytest.fixture
def shop(shell: Shell) -> Shell:
    """Functions whose app, and all of whose topics, are called as nobody else's."""
    app = f"shop{next(_NUMBERS)}"
    shell.environment["HEADRACE_APP"] = app
    shell.write("functions.py", FUNCTIONS.format(app=app))
    return shell


def enter(shop: Shell, server: KafkaServer, way: Way) -> str:
    """Have the shop use this way in; the app's name."""
    bootstrap, environment = way(server, shop.folder)
    shop.environment |= {"HEADRACE_BROKER": f"kafka://{bootstrap}", **environment}
    return shop.environment["HEADRACE_APP"]


def grant(server: KafkaServer, user: str, acls: list[dict[str, Any]]) -> None:
    for acl in acls:
        server.grant(user, acl["operation"].lower(), acl["resource"], acl["name"], acl["pattern"])


@pytest.mark.parametrize("name", WAYS)
def test_functions_run_by_each_way_in_with_the_planned_rights_and_no_more(
    shop: Shell, secured_kafka: KafkaServer, name: str
) -> None:
    user, way = WAYS[name]
    app = enter(shop, secured_kafka, way)
    grant(secured_kafka, user, shop.json("topics", "plan")["acls"])
    secured_kafka.grant(user, "write", "topic", f"{app}-orders")  # of whoever emits orders
    secured_kafka.grant(user, "read", "topic", f"{app}-sent")  # of whoever reads what was sent
    shop.run("run", "--until-idle")
    shop.run("emit", f"{app}-orders", "-", stdin="".join(f'{{"id": "{one}"}}\n' for one in ("1", "later", "bad")))
    shop.run("run", "--until-idle")
    assert {event["data"]["sent"] for event in shop.tail(f"{app}-sent")} == {"1", "later"}
    assert {row["lag"] for row in shop.json("lag")} == {0}


def test_without_the_right_to_make_topics_those_of_the_plan_can_be_made_beforehand(
    shop: Shell, secured_kafka: KafkaServer
) -> None:
    app = enter(shop, secured_kafka, WAYS["SCRAM-SHA-512"][1])
    plan = shop.json("topics", "plan")
    grant(secured_kafka, "carol", [acl for acl in plan["acls"] if not acl["only_to_make"]])
    refused = shop.run("run", "--until-idle", code=1).stderr
    assert "as 'carol' does not allow it: grant CREATE on topic" in refused
    asyncio.run(make(secured_kafka, plan["topics"]))
    shop.run("run", "--until-idle")
    secured_kafka.grant("carol", "write", "topic", f"{app}-orders")
    shop.run("emit", f"{app}-orders", '{"id": "bad"}')
    shop.run("run", "--until-idle")
    assert {row["topic"] for row in shop.json("lag")} >= {f"{app}-orders", f"{app}.confirm.retry.1s"}


async def make(server: KafkaServer, topics: list[dict[str, Any]]) -> None:
    """As somebody who may: the plain listener is the super user's."""
    from kafkaclient import quick

    from headrace.runtime.ports import TopicSpec
    from headrace.triggers.brokers.kafka import KafkaLog

    log = await KafkaLog.open(quick(server.bootstrap))
    await log.ensure([TopicSpec(topic["name"], 1) for topic in topics])
    await log.close()


def test_settings_come_from_files_and_the_password_from_the_environment(
    shop: Shell, secured_kafka: KafkaServer
) -> None:
    enter(shop, secured_kafka, WAYS["PLAIN"][1])
    names = [name for name in shop.environment if name.startswith("HEADRACE_KAFKA__") and "PASSWORD" not in name]
    lines = [f'{name.removeprefix("HEADRACE_KAFKA__").lower()} = "{shop.environment.pop(name)}"' for name in names]
    shop.write("pyproject.toml", "\n".join(["[tool.headrace.kafka]", *lines, "session_timeout = 30", ""]))
    assert "does not exist" in shop.run("tail", "nothing", code=1).stderr  # it got in, and looked
    shop.write("headrace.toml", '[kafka]\nsasl_username = "zed"\n')
    assert "as 'zed' refused the login" in shop.run("tail", "nothing", code=1).stderr


async def test_connect_takes_the_same_settings(
    shop: Shell, secured_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = enter(shop, secured_kafka, WAYS["SCRAM-SHA-256"][1])
    for right in ("create", "describe", "write"):
        await asyncio.to_thread(secured_kafka.grant, "carol", right, "topic", f"{app}-orders")
    await make(secured_kafka, [{"name": f"{app}-orders"}])
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    async with connect() as log:
        assert (await log.emit(f"{app}-orders", {"id": "1"})).offset == 0


# -- what does not work -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["run"], ["emit", "orders", "1"], ["tail", "orders"], ["lag"]])
def test_every_command_refuses_a_wrong_password_and_never_shows_it(
    shop: Shell, secured_kafka: KafkaServer, command: list[str]
) -> None:
    enter(shop, secured_kafka, WAYS["SCRAM-SHA-512"][1])
    shop.environment |= kafka(sasl_password="hunter2")
    ended = shop.run(*command, "--json", code=1)
    assert "as 'carol' refused the login with SCRAM-SHA-512" in ended.stderr
    assert "see that kafka.sasl_username and HEADRACE_KAFKA__SASL_PASSWORD are right" in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sasl_passwort": "hunter2"}, "'kafka.sasl_passwort' (HEADRACE_KAFKA__SASL_PASSWORT); did you mean"),
        ({"security_protocol": "hunter2"}, "kafka.security_protocol: Input should be 'PLAINTEXT', 'SSL', "),
        ({"session_timeout": "hunter2"}, "kafka.session_timeout: Input should be a valid number"),
        ({"sasl_password": "hunter2"}, "kafka.security_protocol is PLAINTEXT, which has none: set it to SASL_SSL"),
        ({"security_protocol": "SASL_SSL"}, "kafka.sasl_mechanism is not set: set it to PLAIN, "),
        ({"security_protocol": "SSL", "ssl_cafile": "ca.pem"}, "kafka.ssl_cafile: there is no file "),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_username": "u"},
            "kafka.sasl_password is not set: set HEADRACE_KAFKA__SASL_PASSWORD in the environment",
        ),
        (
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "OAUTHBEARER",
                "sasl_token_command": "no-such-program --secret hunter2",
            },
            "kafka.sasl_token_command: there is no program 'no-such-program'",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy_and_no_value_is_shown(
    shell: Shell, settings: dict[str, str], message: str
) -> None:
    shell.environment |= {"HEADRACE_BROKER": "kafka://127.0.0.1:1", **kafka(**settings)}
    ended = shell.run("tail", "orders", "--json", code=1)
    assert message in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr


def test_a_broker_that_is_not_there_is_told(shell: Shell) -> None:
    told = shell.run("tail", "orders", "--broker", "kafka://127.0.0.1:1", code=1).stderr
    assert told.startswith("headrace: Kafka at 127.0.0.1:1 cannot be reached: nothing listens there; see that it runs")


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_the_plan_needs_no_broker_and_lists_topics_groups_ids_and_rights(shop: Shell) -> None:
    app = shop.environment["HEADRACE_APP"]
    shop.environment |= kafka(replication_factor=3, sasl_username="robot")
    plan = shop.json("topics", "plan")
    assert (plan["app"], plan["principal"]) == (app, "User:robot")
    topics = {topic["name"]: topic for topic in plan["topics"]}
    tiers = [f"{app}.confirm.retry.{tier}" for tier in ("1s", "5s", "30s", "2m", "10m", "1h")]
    letters = [f"{app}.confirm.dlt", f"{app}.send.dlt"]
    redrives = [f"{app}.confirm.retry.redrive", f"{app}.send.retry.redrive"]
    own = {*letters, *tiers, *redrives, f"{app}.control"}
    assert set(topics) == {f"{app}-orders", f"{app}-mails", f"{app}-sent", *own}
    assert topics[redrives[1]]["made"] == "at the first redrive"
    assert (topics[f"{app}.control"]["partitions"], topics[f"{app}.control"]["functions"]) == (1, ["confirm", "send"])
    assert topics[f"{app}.control"]["configs"]["cleanup.policy"] == "compact"
    assert topics[f"{app}-mails"]["kinds"] == ["output", "input"]
    assert topics[f"{app}-mails"]["functions"] == ["confirm", "send"]
    assert (topics[letters[0]]["like"], topics[letters[0]]["replication"]) == ([f"{app}-orders"], 3)
    assert topics[tiers[0]]["made"] == "at the first retry"
    assert topics[tiers[0]]["configs"]["retention.ms"] == "-1"
    assert plan["groups"] == {"confirm": f"{app}.confirm", "send": f"{app}.send"}
    assert plan["transactional_ids"] == {"send": f"{app}.send/"}
    assert {"principal", "resource", "name", "pattern", "operation", "only_to_make"} == set(plan["acls"][0])


def test_the_plan_reads_as_a_table(shop: Shell) -> None:
    app = shop.environment["HEADRACE_APP"]
    lines = shop.run("topics", "plan").stdout.splitlines()
    assert any(f"{app}.confirm.retry.10m" in line and f"as {app}-orders" in line for line in lines)
    assert any("transactional id" in line and f"{app}.send/*" in line and "WRITE" in line for line in lines)
