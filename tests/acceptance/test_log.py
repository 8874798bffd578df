"""`headrace log`: backup, check, compact, as a user types them, also under load."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import signal
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

from harness import Shell

from headrace.triggers.brokers.sqlite import SqliteLog

COPY = """
from pydantic import BaseModel
from headrace import function

class Seen(BaseModel):
    n: int

@function("orders", emits={"seen": Seen})
def copy(order: dict) -> Seen:
    return Seen(n=order["n"])
"""


def log_of(shell: Shell) -> Path:
    return shell.folder / ".headrace" / "log.db"


def emit(shell: Shell, count: int, topic: str = "orders", size: int = 10) -> None:
    lines = "".join(json.dumps({"n": n, "x": "x" * size}) + "\n" for n in range(count))
    shell.run("emit", topic, "-", "--key-field", "n", stdin=lines)


def mend(shell: Shell, statement: str) -> None:
    with closing(sqlite3.connect(log_of(shell))) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_backup_is_a_log_by_itself(shell: Shell) -> None:
    shell.write("functions.py", COPY)
    emit(shell, 50)
    shell.run("run", "--until-idle")
    done = shell.json("log", "backup", "copy.db")
    assert done["bytes"] == (shell.folder / "copy.db").stat().st_size
    assert "is there already" in shell.run("log", "backup", "copy.db", code=1).stderr
    assert sorted(path.name for path in shell.folder.glob("copy.db*")) == ["copy.db"]
    emit(shell, 10)
    shutil.rmtree(shell.folder / ".headrace")
    (shell.folder / ".headrace").mkdir()
    (shell.folder / "copy.db").rename(log_of(shell))
    shell.run("run", "--until-idle")
    assert len(shell.tail("seen")) == 50
    assert sum(row["end"] for row in shell.json("lag")) == 50
    assert shell.json("log", "check")["sound"] is True


def test_a_backup_under_load_is_a_prefix_of_each_partition_with_the_progress_that_fits(shell: Shell) -> None:
    shell.write("functions.py", COPY)
    emit(shell, 2000)
    over = threading.Event()
    backups = [shell.folder / f"backup-{n}.db" for n in range(3)]
    with shell.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        with shell.start("emit", "orders", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as producer:
            writing = threading.Thread(target=write_until, args=(over, producer))
            writing.start()
            for backup in backups:
                shell.run("log", "backup", backup.name)
            over.set()
            writing.join()
            assert producer.wait(60) == 0
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(60) == 0
    sizes = [asyncio.run(compare(one, log_of(shell))) for one in backups]
    assert sizes[0] < sizes[1] < sizes[2], "events came all the time"


def write_until(over: threading.Event, producer: subprocess.Popen[str]) -> None:
    """Have events emitted without a pause."""
    assert producer.stdin is not None
    for n in itertools.count():
        producer.stdin.write(json.dumps({"n": n}) + "\n")
        if over.is_set():
            producer.stdin.close()
            return


async def compare(backup: Path, original: Path) -> int:
    """Check that a backup is a prefix of the log; how many orders it has."""
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM member").fetchone() == (0,)
    copy, log = await SqliteLog.open(backup), await SqliteLog.open(original)
    settled = 0
    for name, topic in (await copy.topics()).items():
        for number, bounds in enumerate(topic.bounds):
            records, position = [], 0
            while position < bounds.end:
                fetched = await copy.read((name, number), position, 500)
                assert fetched.records == (await log.read((name, number), position, len(fetched.records))).records
                records += fetched.records
                position = fetched.next
            assert [record.offset for record in records] == list(range(bounds.end))
    for lag in await copy.lag(""):
        assert lag.committed <= lag.end
        settled += lag.committed
    seen = sum(bounds.end for bounds in (await copy.topics())["seen"].bounds)
    assert seen >= settled, "what is settled has its emits in the same copy"
    orders = sum(bounds.end for bounds in (await copy.topics())["orders"].bounds)
    await copy.close()
    await log.close()
    return orders


def test_check_says_that_a_log_is_sound_and_what_it_is(shell: Shell) -> None:
    emit(shell, 20)
    report = shell.json("log", "check")
    assert report["sound"] is True
    assert {"path", "sqlite", "schema", "filesystem", "bytes", "wal", "free", "findings", "sound"} == set(report)
    assert report["sqlite"] == sqlite3.sqlite_version
    assert "the log is sound" in shell.run("log", "check").stdout


def test_check_finds_what_does_not_fit_and_exits_with_one(shell: Shell) -> None:
    emit(shell, 100)
    mend(shell, "UPDATE part SET bytes = bytes + 7 WHERE p = 1")
    report = shell.json("log", "check", code=1)
    assert [finding["severity"] for finding in report["findings"] if finding["severity"] != "notice"] == ["error"]
    assert "partition 1 of 'orders' says it has" in shell.run("log", "check", code=1).stdout


def test_check_finds_a_damaged_file(shell: Shell) -> None:
    emit(shell, 3000, size=200)
    data = bytearray(log_of(shell).read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    log_of(shell).write_bytes(data)
    found = shell.run("log", "check", code=1)
    assert "damaged" in found.stdout + found.stderr
    assert "backup" in found.stdout + found.stderr


def test_check_of_what_is_no_log_or_not_there_says_so(shell: Shell) -> None:
    assert "is not there" in shell.run("log", "check", code=1).stderr
    assert not log_of(shell).exists()
    shell.write("notes.db", "These are my notes, not a database. " * 50)
    assert "not a headrace log" in shell.run("log", "check", "--broker", "sqlite:notes.db", code=1).stderr


def test_compact_makes_the_file_small_again_and_counts_anew(shell: Shell) -> None:
    emit(shell, 4000, size=500)
    shell.run("topics", "alter", "orders", "--retention-bytes", "20KB")
    mend(shell, "UPDATE part SET bytes = bytes + 5000")
    before = log_of(shell).stat().st_size
    done = shell.json("log", "compact")
    assert done["before"] >= before > done["after"] * 5
    assert (done["rewritten"], done["users"]) == (True, [])
    assert done["deleted"] > 3000
    assert shell.json("log", "check")["sound"] is True


def test_compact_helps_a_file_that_was_not_made_to_shrink(shell: Shell) -> None:
    emit(shell, 100)
    with closing(sqlite3.connect(log_of(shell), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("VACUUM")
    report = shell.json("log", "check", code=1)
    warned = " ".join(finding["what"] for finding in report["findings"])
    assert "never shrinks" in warned
    assert "not 'wal'" in warned
    shell.run("log", "compact")
    assert shell.json("log", "check")["sound"] is True
    assert len(shell.tail("orders")) == 100


def test_compact_goes_on_beside_a_running_runtime(shell: Shell) -> None:
    shell.write("functions.py", COPY)
    emit(shell, 500)
    with shell.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        done = shell.json("log", "compact")
        assert runtime.pid in [user["pid"] for user in done["users"]]
        emit(shell, 500)
        with shell.start("tail", "seen", "--from", "earliest", "-n", "1000", stdout=subprocess.DEVNULL) as tail:
            assert tail.wait(60) == 0
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(90) == 0
    assert len(shell.tail("seen")) == 1000
