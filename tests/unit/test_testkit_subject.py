"""What a test runs: handlers, modules, and targets as `headrace run` finds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headrace import DeclarationError, SettingsError, TargetError, function
from headrace.testing import TestApp

SOURCE = """
from headrace import function
import {neighbour}

@function("orders", emits="emails", timeout=5.0, start="latest")
def confirm(data: dict) -> dict:
    import {late}
    return {{"found": {neighbour}.WORD + {late}.WORD}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with functions; what is imported from it is forgotten."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "kit_neighbour.py").write_text("WORD = 'near'")
    (tmp_path / "kit_late.py").write_text("WORD = 'by'")
    (tmp_path / "kit_functions.py").write_text(SOURCE.format(neighbour="kit_neighbour", late="kit_late"))
    return tmp_path


def test_a_target_runs_with_its_neighbours_and_the_settings_of_its_folder(project: Path) -> None:
    (project / "headrace.toml").write_text(
        'app = "north"\n[topics.orders]\npartitions = 7\n[functions.confirm]\ntimeout = 1.5\n'
    )
    before = sys.dont_write_bytecode
    app = TestApp.from_target("kit_functions.py", folder=project)
    assert sys.dont_write_bytecode == before
    app.emit("orders", {})
    app.run_until_idle()
    (mail,) = app.topic("emails")
    assert (mail.data, mail.source) == ({"found": "nearby"}, "/north/confirm")
    assert len(app._stage.disk.topics["orders"].journals) == 7
    assert app._stage.subject.handlers["confirm"].declaration.timeout == 1.5


def test_a_target_is_imported_once_and_found_by_the_handlers_of_its_module(project: Path) -> None:
    first = TestApp.from_target("kit_functions.py", folder=project)
    handler: Any = sys.modules["kit_functions"].confirm
    second = TestApp.from_target("kit_functions.py", folder=project)
    assert first.attempts(handler) == second.attempts(handler) == []
    assert sys.path.count(str(project)) == 1


def test_a_target_that_is_wrong_says_where(project: Path) -> None:
    with pytest.raises(TargetError, match=r"there is no .*nowhere\.py"):
        TestApp.from_target("nowhere.py", folder=project)
    (project / "kit_broken.py").write_text("import kit_that_is_not_there")
    with pytest.raises(TargetError, match=r"kit_broken\.py:1: cannot be imported: ModuleNotFoundError"):
        TestApp.from_target("kit_broken.py", folder=project)
    (project / "kit_wrong.py").write_text("from headrace import function\n@function()\ndef f(data: dict): ...\n")
    with pytest.raises(DeclarationError, match=r"kit_wrong\.py:2: "):
        TestApp.from_target("kit_wrong.py", folder=project)
    (project / "headrace.toml").write_text("[functions.conform]\ntimeout = 1.5\n")
    with pytest.raises(SettingsError, match="conform"):
        TestApp.from_target("kit_functions.py", folder=project)


def test_a_module_gives_all_functions_it_holds() -> None:
    module = ModuleType("shop")
    module.first = function("orders", name="first")(plain)  # type: ignore[attr-defined]
    module.second = module.first  # type: ignore[attr-defined]
    app = TestApp(module, module.first)
    assert repr(app) == "<TestApp test with first: open, 0 attempts>"
    with pytest.raises(DeclarationError, match="empty holds no function"):
        TestApp(ModuleType("empty"))


def plain(data: dict[str, Any]) -> None: ...


def test_time_does_not_go_back() -> None:
    app = TestApp(function("orders", name="plain")(plain))
    for seconds in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="time passes by a number of seconds"):
            app.advance(seconds)


def test_the_names_of_the_kit_are_imported_on_first_use() -> None:
    look = "print([getattr(t, name) for name in dir(t)])"
    code = f"import sys, headrace.testing as t; assert 'pydantic' not in sys.modules; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "TestApp" in done.stdout
    light = "import sys; from headrace.testing import context; print(any('runtime' in name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
