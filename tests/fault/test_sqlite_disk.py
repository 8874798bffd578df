"""A real runtime on a disk that fills up under it, and logs on a disk that cannot be written to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness import Shell

COPY = """
from pydantic import BaseModel
from headrace import function

class Seen(BaseModel):
    n: int
    x: str

@function("orders", emits={"seen": Seen})
def copy(order: dict) -> Seen:
    return Seen(n=order["n"], x=order["x"])
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own, and what mounts it anew with other options."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    options = ["-t", "tmpfs", "-o", "size=24m", "none"]
    mounted = subprocess.run(["mount", *options, place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")

    def mount(option: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)
        return place

    yield mount
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def shop(tmp_path: Path, disk: Callable[[str], Path]) -> Shell:
    folder = tmp_path / "shop"
    folder.mkdir()
    shell = Shell(folder, {"HEADRACE_BROKER": f"sqlite:{disk('rw')}/log.db"})
    shell.write("functions.py", COPY)
    return shell


def emit(shell: Shell, first: int, count: int) -> list[int]:
    """Emit events of 20 KB each; the numbers of those that were acknowledged."""
    lines = "".join(json.dumps({"n": n, "x": "x" * 20_000}) + "\n" for n in range(first, first + count))
    said = shell.run("emit", "orders", "-", "--json", stdin=lines, code=None)
    assert "Traceback" not in said.stderr
    if said.returncode:
        assert "is full; nothing was written. Make room and try again" in said.stderr
    return list(range(first, first + said.stdout.count("\n")))


def until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    lines = []
    for line in iter(process.stderr.readline, ""):
        lines.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} never came:\n{''.join(lines)}")


def test_on_a_full_disk_a_runtime_says_so_loses_nothing_and_goes_on_by_itself(
    shop: Shell, disk: Callable[[str], Path]
) -> None:
    place = disk("rw")
    (place / "ballast").write_bytes(bytes(12 << 20))
    shop.run("topics", "create", "orders", "--partitions", "2")
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        until(runtime, "serving")
        acknowledged = emit(shop, 0, 20)
        at = 100
        while len(some := emit(shop, at, 60)) == 60:
            acknowledged += some
            at += 100
        acknowledged += some
        # What was written is a prefix; whatever came after it was refused. A chunk may be written and not acknowledged.
        until(runtime, "is full; nothing was written")
        assert {row["topic"] for row in shop.json("lag")} <= {"orders"}, "reading goes on"
        (place / "ballast").unlink()
        after = emit(shop, 10_000, 5)
        assert len(after) == 5
        with shop.start("tail", "seen", "--from", "earliest", "--json", stdout=subprocess.PIPE) as tail:
            assert tail.stdout is not None
            missing = set(acknowledged + after)
            while missing:
                missing.discard(json.loads(tail.stdout.readline())["data"]["n"])
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(60) == 0
    seen = Counter(event["data"]["n"] for event in shop.tail("seen"))
    assert set(seen.values()) == {1}
    assert set(seen) >= set(acknowledged + after)
    assert shop.tail("shop.copy.dlt") == []
    with closing(sqlite3.connect(place / "log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert shop.json("log", "check")["sound"] is True


def test_on_a_disk_that_is_mounted_read_only_every_command_says_what_to_do(
    shop: Shell, disk: Callable[[str], Path]
) -> None:
    emit(shop, 0, 3)
    place = disk("ro")
    for arguments in (["run", "--until-idle"], ["emit", "orders", "1"], ["lag"], ["log", "check"], ["log", "compact"]):
        refused = shop.run(*arguments, code=1)
        assert f"{place}" in refused.stderr
        assert "mounted read-only: mount it for writing" in refused.stderr
        assert "choose another place" in refused.stderr
    disk("rw")
    shop.run("run", "--until-idle")
    assert len(shop.tail("seen")) == 3


def test_a_backup_that_does_not_fit_leaves_nothing_behind(
    shop: Shell, disk: Callable[[str], Path], tmp_path: Path
) -> None:
    place = disk("rw")
    emit(shop, 0, 400)
    (place / "ballast").write_bytes(bytes(12 << 20))
    refused = shop.run("log", "backup", str(place / "copy.db"), code=1)
    assert "is full" in refused.stderr
    assert str(place / "copy.db") in refused.stderr
    assert sorted(path.name for path in place.glob("copy*")) == []
    shop.run("log", "backup", str(tmp_path / "copy.db"))
    assert shop.json("log", "check", "--broker", f"sqlite:{tmp_path}/copy.db")["sound"] is True


def test_upkeep_on_a_full_disk_makes_room_when_it_can(shop: Shell, disk: Callable[[str], Path]) -> None:
    place = disk("rw")
    emit(shop, 0, 400)
    (place / "ballast").write_bytes(bytes(11 << 20))
    shop.run("topics", "alter", "orders", "--retention-bytes", "100KB")
    shop.run("log", "compact")
    assert (place / "log.db").stat().st_size < 2_000_000
    assert shop.json("log", "check")["sound"] is True
