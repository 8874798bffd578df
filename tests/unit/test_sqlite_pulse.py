"""The pulse of a member: locked while it lives, and known to be dead as soon as it does not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite.pulse import Pulse, is_dead, path_of, sweep
from headrace.triggers.brokers.sqlite.vigil import Vigil


def test_a_member_is_dead_once_its_lock_is_gone_and_not_before(tmp_path: Path):
    pulse = Pulse.begin(tmp_path, "m")
    assert not is_dead(tmp_path, "m")
    assert not is_dead(tmp_path, "m")  # who looks does not take the lock from another who looks
    pulse.end(unlink=False)
    assert is_dead(tmp_path, "m")
    assert is_dead(tmp_path, "m")


def test_a_member_without_a_file_is_not_known_to_be_dead(tmp_path: Path):
    assert not is_dead(tmp_path, "m")
    Pulse.begin(tmp_path, "m").end(unlink=True)
    assert list(tmp_path.iterdir()) == []
    assert not is_dead(tmp_path, "m")


def test_sweeping_removes_what_the_dead_left_but_not_those_whose_peers_may_not_know(tmp_path: Path):
    alive = Pulse.begin(tmp_path, "alive")
    for name in ("dead", "mourned"):
        Pulse.begin(tmp_path, name).end(unlink=False)
    sweep(tmp_path, {"alive", "mourned"})
    assert {path.stem for path in tmp_path.iterdir()} == {"alive", "mourned"}
    sweep(tmp_path, ())
    assert {path.stem for path in tmp_path.iterdir()} == {"alive"}
    alive.end(unlink=True)


def test_a_file_that_was_removed_is_made_again_and_one_that_is_there_is_left_alone(tmp_path: Path):
    pulse = Pulse.begin(tmp_path / "run", "m")
    path = path_of(tmp_path / "run", "m")
    before = path.stat().st_ino
    pulse.renew()
    assert path.stat().st_ino == before
    path.unlink()
    path.parent.rmdir()
    pulse.renew()
    assert not is_dead(tmp_path / "run", "m")
    pulse.end(unlink=False)
    assert is_dead(tmp_path / "run", "m")


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(BrokerError, match=r"run/m\.live is not writable"):
        Pulse.begin(tmp_path / "run", "m")


def test_no_descriptor_is_left_open(tmp_path: Path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    pulse = Pulse.begin(tmp_path, "m")
    is_dead(tmp_path, "m")
    path_of(tmp_path, "m").unlink()
    pulse.renew()
    sweep(tmp_path, ())
    pulse.end(unlink=True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_where_there_are_no_fifos_a_plain_file_tells_as_well_who_is_dead(tmp_path: Path, monkeypatch):
    def refused(_path):
        raise PermissionError("no FIFOs here")

    monkeypatch.setattr(os, "mkfifo", refused)
    pulse = Pulse.begin(tmp_path, "m")
    assert not is_dead(tmp_path, "m")
    pulse.end(unlink=False)
    assert is_dead(tmp_path, "m")
    sweep(tmp_path, ())
    assert list(tmp_path.iterdir()) == []


async def test_a_vigil_is_woken_by_an_end_and_by_no_other(tmp_path: Path):
    ended = asyncio.Event()
    pulses = {name: Pulse.begin(tmp_path, name) for name in ("one", "two", "three")}
    vigil = Vigil(tmp_path, ended.set)
    vigil.watch({"one", "two", "nobody"})
    pulses["three"].end(unlink=True)
    vigil.watch({"one", "nobody"})
    pulses["two"].end(unlink=False)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not ended.is_set()
    pulses["one"].end(unlink=False)
    async with asyncio.timeout(60):
        await ended.wait()
    vigil.close()


async def test_a_plain_file_in_place_of_a_pulse_is_not_watched(tmp_path: Path):
    path_of(tmp_path, "m").touch()
    vigil = Vigil(tmp_path, lambda: None)
    vigil.watch({"m"})
    assert repr(vigil) == "<Vigil over 0 members>"
    vigil.close()
