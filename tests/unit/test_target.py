"""What a person may write after `headrace run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.functions.errors import TargetError
from headrace.sandbox.target import find_target
from headrace.sandbox.wire import Target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_file_is_imported_from_its_own_folder(folder: Path) -> None:
    file = touch(folder / "shop" / "orders.py")
    assert find_target("shop/orders.py", folder) == Target("file", str(file), str(folder / "shop"))
    assert find_target(str(file), Path("/")) == Target("file", str(file), str(folder / "shop"))


def test_a_folder_without_init_is_its_own_root(folder: Path) -> None:
    touch(folder / "shop" / "orders.py")
    assert find_target("shop", folder) == Target("folder", str(folder / "shop"), str(folder / "shop"))


def test_a_package_has_its_parent_as_root(folder: Path) -> None:
    touch(folder / "shop" / "__init__.py")
    assert find_target("shop/", folder) == Target("folder", str(folder / "shop"), str(folder))


def test_a_dotted_name_that_is_no_path_is_a_module(folder: Path) -> None:
    assert find_target("shop.orders", folder) == Target("module", "shop.orders", str(folder))


def test_a_path_that_is_no_text_is_refused(folder: Path) -> None:
    touch(folder / "\udcff.py")
    with pytest.raises(TargetError, match="is not UTF-8 text: rename"):
        find_target("\udcff.py", folder)


def test_without_a_target_the_file_here_comes_before_the_folder(folder: Path) -> None:
    touch(folder / "functions" / "orders.py")
    assert find_target(None, folder).path == str(folder / "functions")
    touch(folder / "functions.py")
    assert find_target(None, folder).path == str(folder / "functions.py")


def test_where_nothing_is_it_says_what_was_looked_for_and_how_to_begin(folder: Path) -> None:
    touch(folder / "functions" / "_hidden.py")
    with pytest.raises(TargetError, match=r"neither functions.py nor functions/ in .*; write one there"):
        find_target(None, folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing.py", r"missing\.py: there is no "),
        ("no/where", "no/where: there is no "),
        ("notes.txt", r"notes\.txt: .* is no Python file"),
        ("empty", "empty: the folder .* holds no Python module"),
        ("~no-such-user/functions.py", "there is no .*/~no-such-user/functions.py"),
        ("x" * 300 + ".py", "xxx"),
        ("what ever", "what ever: there is no such file or folder in .* no module name either"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, text: str, message: str) -> None:
    touch(folder / "notes.txt")
    touch(folder / "empty" / ".hidden.py")
    with pytest.raises(TargetError, match=message):
        find_target(text, folder)
