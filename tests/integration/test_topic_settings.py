"""What settings say of topics: how those are made that are not there, and what is said of those that are."""

from __future__ import annotations

import pytest
import structlog
from kafkaclient import fresh, quick

from headrace import connect
from headrace.compose import engine_of, workshop
from headrace.functions.errors import SettingsError
from headrace.runtime.ports import TopicSpec
from headrace.runtime.settings import read_settings
from headrace.triggers.brokers.kafka import KafkaLog
from headrace.triggers.brokers.sqlite import SqliteLog

FUNCTIONS = """
from headrace import Context, function

@function("{orders}", emits="{emails}")
def confirm(order: dict, ctx: Context) -> None:
    ctx.emit("{emails}", order)
"""
SETTINGS = """
app = "{app}"

[topics.{orders}]
partitions = 6
retention = "7d"
retention_bytes = "10GB"

[topics.{emails}]
cleanup = "compact"

[topics."{app}.confirm.dlt"]
retention = "90d"
"""
WEEK_MS = 7 * 86_400_000


@pytest.fixture(params=["sqlite", "kafka"])
async def store(request, tmp_path):
    if request.param == "sqlite":
        opened = await SqliteLog.open(tmp_path / "log.db")
    else:
        opened = await KafkaLog.open(quick(request.getfixturevalue("kafka").bootstrap))
    yield opened
    await opened.close()


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {"app": fresh("shop"), "orders": fresh("orders"), "emails": fresh("emails")}
    for file, template in (("functions.py", FUNCTIONS), ("headrace.toml", SETTINGS)):
        text = template
        for name, value in found.items():
            text = text.replace(f"{{{name}}}", value)
        (tmp_path / file).write_text(text)
    return found


async def run(folder, store):
    async with workshop(read_settings(folder, target=str(folder / "functions.py")), folder) as shop:
        engine = engine_of(shop, store, [])
        try:
            await engine.open()
        finally:
            await engine.close(5.0)


async def test_topics_that_are_not_there_are_made_as_the_settings_say(tmp_path, store, names):
    await run(tmp_path, store)
    topics = await store.topics()
    orders, emails, letters = (
        topics[one].spec for one in (names["orders"], names["emails"], f"{names['app']}.confirm.dlt")
    )
    assert (orders.partitions, orders.retention_ms, orders.retention_bytes) == (6, WEEK_MS, 10 * 10**9)
    assert (emails.cleanup, emails.retention_ms) == ("compact", None)
    assert (letters.partitions, letters.retention_ms) == (6, 90 * 86_400_000), "as many partitions as its source"


async def test_a_topic_that_is_there_is_left_as_it_is_and_the_difference_is_told(tmp_path, store, names):
    await store.ensure([TopicSpec(names["orders"], 2)])
    with structlog.testing.capture_logs() as logs:
        await run(tmp_path, store)
    assert (await store.topics())[names["orders"]].spec.partitions == 2
    (told,) = [line for line in logs if line["event"] == "a topic is not as the settings say"]
    assert (told["topic"], told["log_level"]) == (names["orders"], "warning")
    assert "partitions: 2, not 6" in told["differs"]
    assert f"retention_ms: None, not {WEEK_MS}" in told["differs"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('retention = "7 fortnights"', r"topics\.orders\.retention: '7 fortnights' is no span of time"),
        ('retention_bytes = "much"', r"topics\.orders\.retention_bytes: 'much' is no size"),
        ("partitions = 0", r"topics\.orders\.partitions: .*greater than or equal to 1"),
        ('cleanup = "sometimes"', r"topics\.orders\.cleanup: "),
        ("partition = 3", r"no setting 'topics\.orders\.partition'"),
    ],
)
def test_what_is_wrong_with_a_setting_of_a_topic_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text(f"[topics.orders]\n{text}\n")
    with pytest.raises(SettingsError, match=message):
        read_settings(tmp_path)


async def test_a_topic_that_a_producer_makes_is_made_as_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text('[topics.orders]\npartitions = 7\nretention = "7d"\n')
    async with connect("sqlite:log.db") as log:
        await log.emit("orders", {"n": 1})
    store = await SqliteLog.open(tmp_path / "log.db")
    made = (await store.topics())["orders"].spec
    await store.close()
    assert (made.partitions, made.retention_ms) == (7, WEEK_MS)
