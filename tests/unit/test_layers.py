"""Imports go one way: functions <- sandbox <- runtime <- triggers <- the door; and within a room, never in a circle.

Read from the syntax, nothing is run.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Container, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["functions", "sandbox", "runtime", "triggers"]
DOOR = len(ROOMS)

# pydantic depends on both and hands them out in its own interface.
WITH_PYDANTIC = {"pydantic", "annotated_types", "typing_extensions"}


def imports_of(path: Path, package: str) -> Iterator[tuple[int, str, bool]]:
    """Line, absolute dotted name, and whether only type checkers see it, of every import in a file of `package`."""
    yield from _imports_in(path.read_text(), package)


@cache  # several tests read the same files
def _imports_in(source: str, package: str) -> list[tuple[int, str, bool]]:
    tree = ast.parse(source)
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    return [
        (getattr(node, "lineno", 0), name, id(node) in unseen)
        for node in ast.walk(tree)
        for name in _named(node, package)
    ]


def _named(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        return [".".join([*base, *([node.module] if node.module else []), alias.name]) for alias in node.names]
    if isinstance(node, ast.Call) and _last_name(node.func) == "import_module":
        return [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    return []


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def room_of(dotted: str) -> int:
    """The number of the room a module of headrace is in; the door's for all that is in none."""
    parts = dotted.split(".")
    return ROOMS.index(parts[1]) if len(parts) > 1 and parts[1] in ROOMS else DOOR


def violations(package: Path) -> list[str]:
    """Every import in the package that goes the wrong way, with its place."""
    found = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package.parent)
        folder = ".".join(relative.parent.parts)
        for line, name, unseen in imports_of(path, folder):
            if problem := _problem(room_of(".".join(relative.with_suffix("").parts)), name, unseen):
                found.append(f"{relative}:{line}: {problem}")
    return found


def _problem(room: int, name: str, unseen: bool) -> str | None:
    top = name.partition(".")[0]
    if top in ROOMS:
        return f"{name} is imported through the link at the root"
    if top == "headrace":
        return f"{ROOMS[room]} imports {name}" if room < room_of(name) else None
    # msgspec is loaded by name, and only for a user's class that stands on it.
    if room == 0 and not unseen and top not in {*sys.stdlib_module_names, *WITH_PYDANTIC, "msgspec"}:
        return f"functions imports {name}: the standard library and pydantic only"
    return None


def test_imports_go_one_way() -> None:
    assert violations(ROOT / "headrace") == []


def circle(package: Path) -> list[str]:
    """Modules of the package of which each imports the next, and the last is the first; none if there is no circle.

    Who imports when, and whether only for type checkers, makes no difference.
    """
    files = {_module_of(path.relative_to(package.parent)): path for path in sorted(package.rglob("*.py"))}
    graph = {}
    for module, path in files.items():
        folder = ".".join(path.relative_to(package.parent).parent.parts)
        named = {_nearest(name, files) for _, name, _ in imports_of(path, folder)}
        graph[module] = named - {module, ""}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _module_of(relative: Path) -> str:
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _nearest(name: str, modules: Container[str]) -> str:
    """The module that a dotted name is of: itself, or the one it is a thing in; "" if it is of none."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(ROOT / "headrace") == []


@pytest.mark.parametrize(
    "back",
    [
        "import headrace.a.one",
        "from headrace.a import one",
        "from . import one",
        "from .one import One",
        "from headrace.a.one import One",
        "if TYPE_CHECKING:\n    from headrace.a.one import One",
        "def f():\n    from headrace.a.one import One",
        "import_module('headrace.a.one')",
    ],
)
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    folder = tmp_path / "headrace" / "a"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from headrace.a.one import One")
    (folder / "one.py").write_text("from headrace.a.two import Two")
    (folder / "two.py").write_text("import json\nfrom headrace.a import three")
    (folder / "three.py").write_text(back)
    found = circle(tmp_path / "headrace")
    assert found[0] == found[-1]
    assert " ".join(found * 2).find("headrace.a.one headrace.a.two headrace.a.three headrace.a.one") != -1
    (folder / "three.py").write_text("import json")
    assert circle(tmp_path / "headrace") == []


@pytest.mark.parametrize(
    ("path", "source", "problem"),
    [
        ("functions/a.py", "import headrace.sandbox.wire", "a.py:1: functions imports headrace.sandbox.wire"),
        ("functions/a.py", "from headrace import runtime", "a.py:1: functions imports headrace.runtime"),
        ("functions/a.py", "from headrace import function", "a.py:1: functions imports headrace.function"),
        ("functions/a.py", "import os\nimport aiokafka", "a.py:2: functions imports aiokafka: the standard library"),
        ("sandbox/linux/a.py", "from ...runtime import ports", "a.py:1: sandbox imports headrace.runtime"),
        ("sandbox/a.py", "def f():\n    from headrace.runtime.ports import Record", "a.py:2: sandbox imports headrace"),
        ("runtime/a.py", "import headrace.triggers", "a.py:1: runtime imports headrace.triggers"),
        ("runtime/a.py", "import_module('headrace.triggers.url')", "a.py:1: runtime imports headrace.triggers.url"),
        ("triggers/a.py", "import headrace.compose", "a.py:1: triggers imports headrace.compose"),
        ("triggers/a.py", "import headrace.cli.run", "a.py:1: triggers imports headrace.cli.run"),
        ("cli/a.py", "import runtime.ports", "a.py:1: runtime.ports is imported through the link"),
        (
            "functions/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import headrace.runtime",
            "a.py:3: functions imports headrace.runtime",
        ),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, path: str, source: str, problem: str) -> None:
    planted = tmp_path / "headrace" / path
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    assert [found for found in violations(tmp_path / "headrace") if problem in found] != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("triggers/a.py", "import headrace.runtime.ports\nfrom headrace.functions import Retry"),
        ("compose.py", "import headrace.triggers.url\nimport aiokafka\nfrom . import connect"),
        ("sandbox/a.py", "from .wire import frame\nfrom headrace.functions import Retry\nimport msgspec"),
        ("functions/a.py", "import json\nimport pydantic\nif TYPE_CHECKING:\n    import structlog"),
    ],
)
def test_a_right_import_is_left_alone(tmp_path: Path, path: str, source: str) -> None:
    planted = tmp_path / "headrace" / path
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    assert violations(tmp_path / "headrace") == []


def test_nothing_beside_the_package_goes_through_the_links() -> None:
    files = [path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert files != []
    through = [
        f"{path}:{line}" for path in files for line, name, _ in imports_of(path, "") if name.split(".")[0] in ROOMS
    ]
    assert through == []


def test_every_foreign_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [spec for specs in project.get("optional-dependencies", {}).values() for spec in specs]
    declared = {_distribution(spec) for spec in [*project["dependencies"], *extras]} | WITH_PYDANTIC
    imported = {
        name.split(".")[0] for path in (ROOT / "headrace").rglob("*.py") for _, name, _ in imports_of(path, "headrace")
    }
    assert imported - set(sys.stdlib_module_names) - {"headrace"} - declared == set()


def _distribution(spec: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", spec, maxsplit=1)[0].lower().replace("-", "_")


@pytest.mark.parametrize("room", ROOMS)
def test_a_link_at_the_root_leads_into_the_package(room: str) -> None:
    link = ROOT / room
    assert link.is_symlink()
    assert link.readlink() == Path("headrace") / room
    assert (link / "__init__.py").is_file()
