"""Which folders are watched, and what a change in them means. With real files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self

import pytest
from watchfiles import Change, awatch

from headrace.cli.dev.mounts import kind_at
from headrace.cli.dev.scope import Kind, Scope
from headrace.cli.dev.watching import Watching


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for folder in (
        "shop/lib/deep",
        "shop/.git",
        "shop/.venv/lib",
        "shop/env",
        "shop/__pycache__",
        "shop/node_modules/x",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shop/env/pyvenv.cfg").touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "shop/log").mkdir()
    return tmp_path / "shop"


def scope_of(shop: Path) -> Scope:
    return Scope(shop, shop, never=[shop / "log"], installed=[shop.parent / "site"])


def test_hidden_folders_caches_environments_and_the_log_are_never_watched(shop: Path) -> None:
    watched = {str(Path(folder).relative_to(shop.parent)) for folder in scope_of(shop).folders()}
    assert watched == {"shop", "shop/lib", "shop/lib/deep", "site"}


def test_a_folder_that_links_to_one_above_it_is_watched_once(shop: Path) -> None:
    (shop / "lib/loop").symlink_to(shop)
    assert len(scope_of(shop).folders()) == 4


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("shop/functions.py", Kind.CODE),
        ("shop/lib/deep/fast.cpython-311-x86_64-linux-gnu.so", Kind.CODE),
        ("shop/headrace.toml", Kind.SETTINGS),
        ("shop/pyproject.toml", Kind.SETTINGS),
        ("shop/lib/pyproject.toml", None),
        ("site/httpx", Kind.INSTALLED),
        ("site/httpx-1.0.dist-info", Kind.INSTALLED),
        ("site/~ttpx", None),
        ("site/__pycache__", None),
        ("shop/.functions.py.swp", None),
        ("shop/.#functions.py", None),
        ("shop/functions.py~", None),
        ("shop/4913", None),
        ("shop/data.json", None),
        ("elsewhere/functions.py", None),
        ("shopping/functions.py", None),
    ],
)
def test_what_a_change_means(shop: Path, path: str, kind: Kind | None) -> None:
    assert scope_of(shop).kind(str(shop.parent / path)) is kind


class Told:
    """What a watch told, and a way to wait for it."""

    def __init__(self, scope: Scope, watcher: Any = awatch) -> None:
        self.kinds: asyncio.Queue[set[Kind]] = asyncio.Queue()
        self.notices: list[str] = []
        self.watching = Watching(scope, self.kinds.put_nowait, self.notices.append, watcher=watcher)

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self.watching.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def next(self) -> set[Kind]:
        async with asyncio.timeout(60):
            return await self.kinds.get()


async def test_files_written_renamed_and_deleted_are_told_each_once(shop: Path) -> None:
    async with Told(scope_of(shop)) as told:
        (shop / "functions.py").write_text("a")
        assert await told.next() == {Kind.CODE}
        (shop / ".new").write_text("b")
        (shop / ".new").rename(shop / "functions.py")
        assert await told.next() == {Kind.CODE}
        (shop / "functions.py").chmod(0o644)  # no news
        (shop / "functions.py").unlink()
        assert await told.next() == {Kind.CODE}
        (shop / "headrace.toml").write_text("")
        assert await told.next() == {Kind.SETTINGS}
        (shop.parent / "site/httpx").mkdir()
        assert await told.next() == {Kind.INSTALLED}
        assert told.kinds.empty()


async def test_folders_that_come_and_go_are_followed_with_what_is_in_them(shop: Path) -> None:
    async with Told(scope_of(shop)) as told:
        (shop / "new/deeper").mkdir(parents=True)
        (shop / "new/deeper/one.py").write_text("a")
        assert await told.next() == {Kind.CODE}
        (shop / "new/deeper/one.py").write_text("bc")
        assert await told.next() == {Kind.CODE}
        (shop / "new").rename(shop / "renamed")
        assert await told.next() == {Kind.CODE}
        (shop / "renamed/deeper/one.py").write_text("def")
        assert await told.next() == {Kind.CODE}


async def test_a_root_that_is_taken_away_and_brought_back_is_watched_again(shop: Path) -> None:
    (shop / "functions.py").write_text("a")
    async with Told(scope_of(shop)) as told:
        (shop / "lib/first.py").write_text("a")
        await told.next()
        shop.rename(shop.parent / "aside")
        (shop.parent / "aside/functions.py").write_text("changed meanwhile")
        (shop.parent / "aside").rename(shop)
        assert Kind.CODE in await told.next()
        (shop / "functions.py").write_text("and again")
        assert Kind.CODE in await told.next()


async def test_what_changed_before_the_watch_began_is_told(shop: Path) -> None:
    told = Told(scope_of(shop))
    (shop / "functions.py").write_text("a")
    async with told:
        assert await told.next() == {Kind.CODE}


async def test_where_files_cannot_be_watched_they_are_polled_and_that_is_said(shop: Path) -> None:
    forced: list[object] = []

    async def exhausted(*paths: str, **options: Any) -> AsyncGenerator[set[tuple[Change, str]], None]:
        forced.append(options["force_polling"])
        if not options["force_polling"]:
            raise OSError(28, "No space left on device")  # what inotify says when its watches run out
        async for changes in awatch(*paths, **{**options, "poll_delay_ms": 20}):
            yield changes

    async with Told(scope_of(shop), exhausted) as told:
        (shop / "functions.py").write_text("a")
        assert await told.next() == {Kind.CODE}
        (shop / "functions.py").write_text("bc")
        assert await told.next() == {Kind.CODE}
    assert forced[:2] == [None, True]
    (notice,) = told.notices
    assert "No space left" in notice
    assert "looking every 300 ms instead" in notice


def test_a_folder_is_on_the_file_system_mounted_nearest_above_it(tmp_path: Path) -> None:
    mounts = {"/": "ext4", str(tmp_path): "nfs4"}
    assert kind_at(tmp_path / "shop", mounts) == "nfs4"
    assert kind_at(Path("/somewhere"), mounts) == "ext4"
