from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

import headrace
from headrace.functions import cloudevents
from headrace.functions.errors import BrokerError, BrokerUnavailable, EmitRefused, SettingsError
from headrace.functions.partition import partition_of
from headrace.producer import Item, Position, connect, connect_sync
from headrace.runtime.ports import Record
from headrace.sandbox.headers import by_name, pack, unpack
from headrace.triggers.url import open_broker


class OrderPlaced(BaseModel):
    order_id: str


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:{tmp_path}/.headrace/log.db"


async def stored(url: str, topic: str) -> Sequence[Record]:
    log = await open_broker(url)
    try:
        count = len((await log.topics())[topic].bounds)
        fetched = [await log.read((topic, partition), 0, 100) for partition in range(count)]
    finally:
        await log.close()
    return [record for one in fetched for record in one.records]


def envelope(record: Record) -> cloudevents.Envelope:
    return cloudevents.read(by_name(record.headers), record.value, ("", 0, 0), "")


async def test_a_model_is_emitted_as_a_cloudevent_of_its_type(url):
    async with connect(url, source="shop") as log:
        position = await log.emit("orders", OrderPlaced(order_id="o1"), key="alice", headers={"tenant": "a"})
    (record,) = await stored(url, "orders")
    event = envelope(record)
    assert position == Position("orders", partition_of(b"alice", 4), 0, event.id)
    assert (record.key, record.value) == (b"alice", b'{"order_id":"o1"}')
    assert (event.type, event.source) == ("OrderPlaced", "shop")
    assert event.time(0) == datetime.fromtimestamp(record.timestamp / 1000, UTC)
    assert dict(unpack(record.headers))["content-type"] == b"application/json"
    assert unpack(record.headers)[-1] == ("tenant", b"a")


@pytest.mark.parametrize(
    ("data", "value"), [({"a": 1}, b'{"a":1}'), ("text", b"text"), (b"\xff", b"\xff"), (None, None)]
)
async def test_plain_data_is_untyped(url, data, value):
    async with connect(url) as log:
        await log.emit("orders", data)
    (record,) = await stored(url, "orders")
    assert (record.value, record.key, envelope(record).type) == (value, None, None)


async def test_type_and_id_may_be_given(url):
    async with connect(url) as log:
        position = await log.emit("orders", {}, type="Custom", id="e-1", headers=[("a", b"\xff"), ("a", "2")])
    (record,) = await stored(url, "orders")
    event = envelope(record)
    assert (position.id, event.id, event.type) == ("e-1", "e-1", "Custom")
    assert unpack(record.headers)[-2:] == [("a", b"\xff"), ("a", b"2")]


async def test_the_source_is_the_log_unless_given(url):
    async with connect(url) as log:
        await log.emit("orders", {})
    (record,) = await stored(url, "orders")
    broker = await open_broker(url)
    await broker.close()
    assert envelope(record).source == broker.cluster


async def test_emit_many_takes_items_and_plain_data_in_order(url):
    items = [Item({"n": 0}, key="k"), {"n": 1}, OrderPlaced(order_id="2"), Item(None, key="k", id="gone")]
    async with connect(url) as log:
        positions = await log.emit_many("orders", (item for item in items))
        assert await log.emit_many("orders", []) == []
    assert positions[3].id == "gone"
    assert (positions[0].partition, positions[3].partition) == (partition_of(b"k", 4),) * 2
    assert positions[0].offset < positions[3].offset
    assert len(await stored(url, "orders")) == 4


async def test_emit_many_writes_all_or_none(url):
    async with connect(url) as log:
        await log.emit("orders", {})
        with pytest.raises(EmitRefused):
            await log.emit_many("orders", [{}, {"x": object()}])
    assert len(await stored(url, "orders")) == 1


async def test_a_topic_is_created_at_its_first_event_and_told(url):
    async with connect(url) as log:
        await log.emit("orders", {})
        await log.emit("orders", {})
        await log.emit("emails", {})
        assert log.created == ["orders", "emails"]
    async with connect(url) as log:
        await log.emit("orders", {})
        assert log.created == []


async def test_a_topic_created_by_another_in_the_meantime_is_used(url):
    async with connect(url) as one, connect(url) as two:
        await asyncio.gather(*(log.emit("orders", {}) for log in (one, two) for _ in range(20)))
        assert [*one.created, *two.created] == ["orders"]
    assert len(await stored(url, "orders")) == 40


async def test_a_name_that_is_no_topic_is_refused(url):
    async with connect(url) as log:
        with pytest.raises(BrokerError, match="'a b' cannot name a topic"):
            await log.emit("a b", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": object()}, "cannot be written as JSON"),
        ({"data": "x" * (1 << 20 | 1)}, "over the limit"),
        ({"data": {}, "key": 7}, "a key is text, bytes or None"),
        ({"data": {}, "type": OrderPlaced}, "type=.*OrderPlaced.* the type of an event is text"),
        ({"data": {}, "id": 7}, "id=7 is int: the id of an event is text"),
        ({"data": {}, "id": "\ud800"}, "the id is not text that UTF-8 can write"),
        ({"data": {}, "headers": {"headrace-hops": "1"}}, "written by headrace itself"),
    ],
)
async def test_what_cannot_be_written_is_refused_and_nothing_is(url, options, message):
    async with connect(url) as log:
        with pytest.raises(EmitRefused, match=message):
            await log.emit("orders", **options)
        assert log.created == []


async def test_the_environment_names_the_broker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_BROKER", "sqlite:from-env.db")
    async with connect() as log:
        await log.emit("orders", {})
    assert (tmp_path / "from-env.db").is_file()


async def test_the_default_is_a_private_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_BROKER", raising=False)
    async with connect() as log:
        await log.emit("orders", {})
    assert (tmp_path / ".headrace" / "log.db").is_file()
    assert (tmp_path / ".headrace").stat().st_mode & 0o777 == 0o700


async def test_emitting_after_closing_is_unavailable(url):
    async with connect(url) as log:
        pass
    with pytest.raises(BrokerUnavailable, match="closed"):
        await log.emit("orders", {})


def test_the_sync_connection_works_without_a_loop(url):
    with connect_sync(url, source="script") as log:
        first = log.emit("orders", {"n": 1}, key="k")
        (second,) = log.emit_many("orders", [Item({"n": 2}, key="k")])
        assert log.created == ["orders"]
    assert (first.offset, second.offset) == (0, 1)
    assert {envelope(record).source for record in asyncio.run(stored(url, "orders"))} == {"script"}
    with pytest.raises(BrokerUnavailable, match="closed"):
        log.emit("orders", {})


async def test_the_sync_connection_works_inside_a_loop(url):
    with connect_sync(url) as log:
        assert log.emit("orders", {}).offset == 0


def test_the_sync_connection_raises_as_the_other_does(tmp_path, url):
    with pytest.raises(SettingsError), connect_sync("redis://x"):
        pass
    with pytest.raises(BrokerError, match="is a directory"), connect_sync(f"sqlite:{tmp_path}"):
        pass
    with connect_sync(url) as log, pytest.raises(EmitRefused):
        log.emit("orders", object())


def test_a_connection_is_not_usable_after_a_fork(url):
    with connect_sync(url) as log:
        log.emit("orders", {})
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                log.emit("orders", {})
            except BrokerError as error:
                os.write(tell, str(error).encode())
            os._exit(0)
        os.close(tell)
        with os.fdopen(told) as answer:
            assert "before a fork" in answer.read()
        os.waitpid(child, 0)


async def test_the_door_has_the_producers_names(url):
    async with headrace.connect(url, source="door") as log:
        assert log.source == "door"
    assert headrace.connect_sync is connect_sync
    assert headrace.Position is Position


def test_headers_may_be_packed_and_unpacked_without_loss():
    headers = [("a", b"\x00"), ("a", b"")]
    assert unpack(pack(headers)) == headers
