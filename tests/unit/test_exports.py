"""The door: what `import headrace` offers, and what it does not load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import headrace

ROOT = Path(__file__).parents[2]


def names_imported_by(path: Path) -> set[str]:
    """Every name that `from headrace… import` brings into a file."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports if (node.module or "").startswith("headrace") for alias in node.names}


def loaded_by(statement: str) -> set[str]:
    """The modules a fresh interpreter has after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", headrace.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(headrace, name) is not None
    assert name in dir(headrace)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'funktion'"):
        headrace.funktion  # noqa: B018


def test_type_checkers_see_exactly_the_public_names() -> None:
    assert names_imported_by(ROOT / "headrace" / "__init__.py") == set(headrace.__all__)


def test_the_typing_sample_uses_every_public_name() -> None:
    assert set(headrace.__all__) - names_imported_by(ROOT / "tests" / "typing_sample.py") == set()


def test_public_names_are_sorted_and_named_once() -> None:
    assert sorted(set(headrace.__all__), key=lambda name: (not name.isupper(), not name[0].isupper(), name)) == list(
        headrace.__all__
    )


def test_the_version_is_the_projects() -> None:
    assert headrace.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_importing_headrace_loads_no_room_and_no_library() -> None:
    loaded = loaded_by("import headrace")
    assert {name for name in loaded if name.startswith("headrace.")} == set()
    assert loaded & {"pydantic", "msgspec", "structlog", "click", "asyncio"} == set()


def test_what_handlers_are_written_against_loads_no_other_room() -> None:
    loaded = loaded_by("import headrace\nfrom headrace import function, Context, Retry\nimport headrace.functions")
    assert "headrace.functions.declare" in loaded
    rooms = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("headrace.")}
    assert rooms == {"headrace.functions"}
    assert loaded & {"msgspec", "structlog", "aiokafka"} == set()


def test_the_rooms_of_a_worker_do_not_load_the_runtime() -> None:
    loaded = loaded_by("import headrace.sandbox.wire, headrace.sandbox.headers, headrace.sandbox.outcome")
    assert {name for name in loaded if name.startswith(("headrace.runtime", "headrace.triggers"))} == set()
