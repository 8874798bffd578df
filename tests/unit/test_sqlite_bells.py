"""Doorbells: heard if there is anyone, and no harm done if there is not."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from headrace.triggers.brokers.sqlite.bells import COMMIT, HELD, Doorbell, Ringer, bell_name


def hang(directory: Path) -> Doorbell:
    bell = Doorbell.hang(directory, bell_name())
    assert bell is not None
    return bell


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def bells(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_whoever_listens_hears_what_was_rung(tmp_path):
    listeners = [hang(tmp_path / "run") for _ in range(3)]
    ringer = Ringer(tmp_path / "run")
    ringer.ring()
    ringer.ring(HELD)
    assert [bell.hear() for bell in listeners] == [COMMIT + HELD] * 3
    assert listeners[0].hear() == b""
    assert "3 bells" in repr(ringer)
    for bell in listeners:
        bell.take_down()
    ringer.close()


def test_a_listener_is_woken_by_its_file(tmp_path):
    bell = hang(tmp_path)
    ringer = Ringer(tmp_path)
    assert select.select([bell.file], [], [], 0)[0] == []
    ringer.ring()
    assert select.select([bell.file], [], [], 0)[0] == [bell.file]
    bell.hear()
    assert select.select([bell.file], [], [], 0)[0] == []
    bell.take_down()
    ringer.close()


def test_ones_own_bell_is_not_rung(tmp_path):
    own = Doorbell.hang(tmp_path, "own")
    other = hang(tmp_path)
    ringer = Ringer(tmp_path, "own")
    ringer.ring()
    assert (own.hear(), other.hear()) == (b"", COMMIT)
    own.take_down()
    other.take_down()
    ringer.close()


def test_whoever_comes_later_is_heard_of_however_soon(tmp_path):
    ringer = Ringer(tmp_path)
    listeners = []
    for _ in range(200):  # many within one tick of the clock that a directory's time has
        listeners.append(hang(tmp_path))
        ringer.ring()
        assert listeners[-1].hear() == COMMIT
    for bell in listeners:
        bell.take_down()
    ringer.close()


def test_one_that_was_taken_down_is_rung_no_more_and_leaves_nothing(tmp_path):
    before = open_files()
    ringer = Ringer(tmp_path)
    for _ in range(20):
        bell = hang(tmp_path)
        ringer.ring()
        bell.take_down()
        bell.take_down()
        ringer.ring()
    assert bells(tmp_path) == []
    ringer.ring()
    assert open_files() == before
    assert "taken down" in repr(bell)
    ringer.close()


def test_the_bell_of_a_dead_process_is_removed(tmp_path):
    known, unknown = hang(tmp_path), hang(tmp_path)
    ringer = Ringer(tmp_path)
    ringer.ring()
    late = hang(tmp_path)
    for bell in (known, unknown, late):  # as a kill leaves them: closed, and still in the folder
        os.close(bell.file)
    assert len(bells(tmp_path)) == 3
    ringer.ring()
    ringer.ring()
    assert bells(tmp_path) == []
    ringer.close()


def test_a_bell_that_nobody_empties_keeps_nobody_from_writing(tmp_path):
    bell = hang(tmp_path)
    ringer = Ringer(tmp_path)
    for _ in range(70_000):  # more than a FIFO holds
        ringer.ring()
    assert set(bell.hear()) == {COMMIT[0]}
    ringer.ring()
    assert bell.hear() == COMMIT
    bell.take_down()
    ringer.close()


def test_without_a_folder_nobody_is_rung_and_with_one_again_all_are(tmp_path):
    run = tmp_path / "run"
    ringer = Ringer(run)
    ringer.ring()
    bell = hang(run)
    ringer.ring()
    bell.path.unlink()
    run.rmdir()
    assert not bell.hangs()
    ringer.ring()
    bell.take_down()
    again = hang(run)
    ringer.ring()
    assert again.hear() == COMMIT
    again.take_down()
    ringer.close()


def test_where_there_can_be_no_bell_there_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    before = open_files()
    assert Doorbell.hang(tmp_path / "file", "x") is None
    assert Doorbell.hang(tmp_path / "no" / "where", "x") is None
    monkeypatch.setattr(os, "open", refuse)
    assert Doorbell.hang(tmp_path, "x") is None
    monkeypatch.setattr(os, "mkfifo", refuse)
    assert Doorbell.hang(tmp_path, "x") is None
    assert open_files() == before
    assert bells(tmp_path) == ["file"]


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "member.live").write_text("")
    (tmp_path / "odd.bell").mkdir()
    ringer = Ringer(tmp_path)
    ringer.ring()
    ringer.ring()
    assert bells(tmp_path) == ["member.live", "odd.bell"]
    ringer.close()


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(1, "not here")


@pytest.mark.parametrize("times", [1, 3])
def test_a_ringer_closes_what_it_opened(tmp_path, times):
    before = open_files()
    bell = hang(tmp_path)
    ringer = Ringer(tmp_path)
    for _ in range(times):
        ringer.ring()
    bell.take_down()
    ringer.close()
    assert open_files() == before
