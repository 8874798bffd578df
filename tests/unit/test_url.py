from __future__ import annotations

import pytest

from headrace.functions.errors import SettingsError
from headrace.runtime.ports import TopicSpec
from headrace.triggers.url import is_embedded, open_broker, path_of


async def test_a_sqlite_path_is_relative_to_the_root(tmp_path):
    log = await open_broker("sqlite:data/log.db", root=tmp_path)
    await log.close()
    assert (tmp_path / "data" / "log.db").is_file()


async def test_without_a_root_it_is_relative_to_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = await open_broker("sqlite:log.db")
    await log.close()
    assert (tmp_path / "log.db").is_file()


async def test_an_absolute_path_stays(tmp_path):
    log = await open_broker(f"sqlite:{tmp_path}/log.db", root=tmp_path / "elsewhere")
    await log.close()
    assert (tmp_path / "log.db").is_file()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "kafka:localhost:9092",
            r"names no Kafka cluster \(did you mean 'kafka://localhost:9092'\?\): write kafka://HOST",
        ),
        ("kafka://", "names no Kafka cluster"),
        ("kafka://host:9092/topic", "names no Kafka cluster"),
        ("kafka://one:9092,,two:9092", "names no Kafka cluster"),
        ("kafka://one..two:9092", "names no Kafka cluster"),
        ("kafka://\udcff:9092", "names no Kafka cluster"),
        (f"kafka://{'a' * 64}.example:9092", "names no Kafka cluster"),
        ("memory:shop", r"a log in memory has no name or path; write 'memory:'"),
        ("redis://localhost", r"'redis://localhost' is no URL of a broker; those are: sqlite:PATH"),
        ("log.db", r"'log\.db' is no URL of a broker \(did you mean 'sqlite:log\.db'\?\)"),
        ("", "is no URL of a broker; those are"),
        ("sqlite:", "names no file"),
        ("sqlite::memory:", "names no file"),
        ("sqlite:shop\0.db", "names no file"),
        ("sqlite:///srv/log.db", r"the path follows the colon \(did you mean 'sqlite:/srv/log\.db'\?\)"),
        ("sqlite:~no-such-user/log.db", "the home folder ~no-such-user is not known here"),
        ("sqlite://", "the path follows the colon: sqlite:PATH"),
    ],
)
async def test_a_url_that_names_no_broker_is_refused_with_the_culprit(url, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        await open_broker(url, root=tmp_path)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("localhost:9092", "'kafka://localhost:9092'"),
        ("one:9092,two:9093", "'kafka://one:9092,two:9093'"),
        ("[::1]:9092", "'kafka://[::1]:9092'"),
        ("kafka:localhost", "'kafka://localhost:9092'"),
        ("kafka:/localhost", "'kafka://localhost:9092'"),
        ("Kafka://localhost", "'kafka://localhost:9092'"),
        ("kakfa://one,two", "'kafka://one:9092,two:9092'"),
        ("SASL_SSL://broker:9093", "'kafka://broker:9093'"),
        ("localhost", "'sqlite:localhost' or 'kafka://localhost:9092'"),
        ("log.db", "'sqlite:log.db'"),
        ("./log", "'sqlite:./log'"),
        ("/srv/shop:1/log.db", "'sqlite:/srv/shop:1/log.db'"),
        ("~/log.db", "'sqlite:~/log.db'"),
        ("sqlite://log.db", "'sqlite:log.db' or 'sqlite:/log.db'"),
        ("sqlite:////srv/log.db", "'sqlite:/srv/log.db'"),
        ("sqlite3:log.db", "'sqlite:log.db'"),
        ("SQLite:///srv/log.db", "'sqlite:/srv/log.db'"),
        ("file:log.db", "'sqlite:log.db'"),
        ("mem:", "'memory:'"),
        ("redis://localhost:6379", ""),
        ("http://localhost:9092", ""),
        ("me:hunter2@host:9092", ""),
        ("kafak://me:hunter2@host", ""),
    ],
)
async def test_what_was_meant_is_said_where_it_can_be_told(url, meant, tmp_path):
    with pytest.raises(SettingsError) as caught:
        await open_broker(url, root=tmp_path)
    said = str(caught.value)
    assert (f"(did you mean {meant}?)" in said) if meant else ("did you mean" not in said)
    assert "hunter2" not in said


async def test_a_log_in_memory_is_a_new_one_each_time():
    one, two = await open_broker("memory:"), await open_broker("memory:")
    await one.ensure([TopicSpec("orders")])
    assert list(await one.topics()) == ["orders"]
    assert await two.topics() == {}
    assert one.cluster != two.cluster
    await one.close()
    await two.close()


async def test_a_password_in_a_url_is_refused_and_not_shown():
    with pytest.raises(SettingsError, match="'kafka://…@host:9092'") as caught:
        await open_broker("kafka://user:secret@host:9092")
    assert "secret" not in str(caught.value)


def test_only_logs_of_our_own_are_embedded():
    assert is_embedded("sqlite:.headrace/log.db")
    assert is_embedded("memory:")
    assert not is_embedded("kafka://localhost:9092")


def test_only_the_embedded_log_has_a_path(tmp_path):
    assert path_of("sqlite:log.db", root=tmp_path) == tmp_path / "log.db"
    (tmp_path / "link").symlink_to(tmp_path / "log.db")
    assert path_of("sqlite:link", root=tmp_path) == tmp_path / "log.db"
    for url in ("kafka://me:secret@localhost", "memory:", "log.db"):
        with pytest.raises(SettingsError, match="not the embedded log") as refusal:
            path_of(url)
        assert "secret" not in str(refusal.value)
