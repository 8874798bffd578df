"""Files and places that cannot be a log are refused, with a remedy, and left as they are."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, place

MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:30 / /mnt/share rw,relatime shared:1 - nfs4 server:/export rw
23 21 0:31 / /mnt/with\\040space rw - cifs //server/share rw
24 22 0:32 / /mnt/share/local rw master:1 propagate_from:2 - ext4 /dev/vdb rw
25 21 0:33 / /mnt/twice rw - ext4 /dev/vdc rw
26 21 0:34 / /mnt/twice rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/log.db", "ext4"),
        ("/mnt/share/log.db", "nfs4"),
        ("/mnt/shared/log.db", "ext4"),
        ("/mnt/with space/log.db", "cifs"),
        ("/mnt/share/local/log.db", "ext4"),
        ("/mnt/twice/deep/log.db", "fuse.sshfs"),
    ],
)
def test_the_filesystem_of_a_path_is_that_of_its_nearest_mount(tmp_path, path, kind):
    assert place.filesystem_of(tmp_path.__class__(path), MOUNTS) == kind


def test_lines_that_are_no_mounts_are_passed_over(tmp_path):
    assert place.filesystem_of(tmp_path, "nonsense\n\n1 2 - x\n") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "virtiofs"])
async def test_a_network_filesystem_is_refused(tmp_path, monkeypatch, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"21 1 254:0 / / rw - ext4 /dev/vda rw\n22 21 0:30 / {tmp_path} rw - {kind} server:/export rw\n")
    monkeypatch.setattr(place, "_MOUNTS", mounts)
    with pytest.raises(BrokerError, match=rf"network or shared filesystem \({kind}\).*local disk"):
        await SqliteLog.open(tmp_path / "sub" / "log.db")
    assert not (tmp_path / "sub").exists()


async def test_without_a_list_of_mounts_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "_MOUNTS", tmp_path / "none")
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.close()


async def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(BrokerError, match=r"needs SQLite 3\.37 or newer.*newer Python"):
        await SqliteLog.open(tmp_path / "log.db")


async def test_a_directory_is_refused(tmp_path):
    with pytest.raises(BrokerError, match=r"is a directory: name a file in it, for example sqlite:.*log\.db"):
        await SqliteLog.open(tmp_path)


async def test_a_directory_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    await _refused(tmp_path / "file" / "sub" / "log.db", r"/file is not a folder.*choose another place")


@pytest.mark.parametrize("path", ["/proc/self/log.db", "/proc/x/log.db", "/sys/x/y/log.db"])
async def test_a_place_that_keeps_no_files_is_refused(path):
    await _refused(Path(path), r"of the kernel's own \((proc|sysfs)\), which keeps no files: choose a place on a disk")


async def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    await _refused(tmp_path / "pipe", "is a device, a pipe or a socket, and a log is a file")
    await _refused(Path("/dev/null"), "is a device, a pipe or a socket, and a log is a file")


async def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    await _refused(tmp_path / ("x" * 300), "is too long for a file")


def test_a_filesystem_that_is_mounted_read_only_is_told_as_such(tmp_path):
    error = OSError(errno.EROFS, os.strerror(errno.EROFS))
    assert "mounted read-only: mount it for writing, or choose" in str(place.not_writable(tmp_path, error))


async def _refused(path, message):
    """By who opens it, and by who only looks."""
    with pytest.raises(BrokerError, match=message):
        await SqliteLog.open(path)
    with pytest.raises(BrokerError, match=message):
        place.look(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
async def test_a_directory_without_permission_is_refused(tmp_path, mode):
    folder = tmp_path / "folder"
    folder.mkdir(mode=mode)
    with pytest.raises(BrokerError, match="is not writable for this user"):
        await SqliteLog.open(folder / "log.db")


async def test_a_file_that_is_not_sqlite_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "log.db"
    path.write_text("These are my notes, not a database. " * 50)
    before = path.read_bytes()
    with pytest.raises(BrokerError, match="is not a headrace log, nor an SQLite file at all"):
        await SqliteLog.open(path)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "log.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes(text)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(BrokerError, match="an SQLite file of another program"):
        await SqliteLog.open(path)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "log.db"
    await (await SqliteLog.open(path)).close()
    newer = sqlite3.connect(path)
    newer.execute("UPDATE meta SET v = 99 WHERE k = 'schema'")
    newer.commit()
    newer.close()
    with pytest.raises(BrokerError, match=r"written by a newer headrace \(its schema is 99.*upgrade"):
        await SqliteLog.open(path)


async def test_an_empty_file_becomes_a_log(tmp_path):
    path = tmp_path / "log.db"
    path.touch()
    log = await SqliteLog.open(path)
    assert await log.topics() == {}
    await log.close()


async def test_the_folder_of_the_log_is_private_and_others_are_not(tmp_path):
    log = await SqliteLog.open(tmp_path / "shared" / ".headrace" / "log.db")
    await log.close()
    assert (tmp_path / "shared" / ".headrace").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "shared").stat().st_mode & 0o777 != 0o700


async def test_a_log_removed_while_open_takes_no_more_writes(tmp_path):
    log = await SqliteLog.open(tmp_path / "sub" / "log.db")
    await log.ensure([TopicSpec("t", 1)])
    shutil.rmtree(tmp_path / "sub")
    with pytest.raises(BrokerError, match="was removed or replaced while it was open"):
        await log.append([Append("t", 0, 0, None, b"x", b"")])
    await log.close()


async def test_a_link_to_the_log_leads_to_the_same_lock(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "log.db")
    log = await SqliteLog.open(tmp_path / "link")
    await log.close()
    assert (tmp_path / "real" / "log.db.lock").is_file()
    assert not (tmp_path / "link.lock").exists()


async def test_the_log_is_one_file_when_all_have_closed(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("t", 1)])
    await log.append([Append("t", 0, 0, None, b"x", b"")])
    assert "open" in repr(log)
    await log.close()
    assert "closed" in repr(log)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.db", "log.db.lock"]
