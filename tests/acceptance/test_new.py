"""`headrace new`: what it makes works as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Shell

FILES = [
    ".dockerignore",
    ".gitignore",
    "Dockerfile",
    "README.md",
    "functions.py",
    "headrace.toml",
    "pytest.ini",
    "tests/test_functions.py",
]


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def project(shell: Shell) -> Shell:
    """A new project named `mill`."""
    shell.run("new", "mill")
    return Shell(shell.folder / "mill")


def test_it_makes_a_project_and_says_what_to_do_next(shell: Shell) -> None:
    lines = shell.run("new", "some where/mill").stdout.splitlines()
    assert lines[0] == "some where/mill: a project of the app 'mill'"
    assert [line.strip() for line in lines[1 : lines.index("next:")]] == FILES
    assert lines[lines.index("next:") + 1] == "  cd 'some where/mill'"
    assert files_of(shell.folder / "some where" / "mill") == FILES
    assert all("{{" not in (shell.folder / "some where/mill" / name).read_text() for name in FILES)


def test_what_it_says_to_do_next_works(shell: Shell) -> None:
    lines = shell.run("new", "mill").stdout.splitlines()
    script = "\n".join(line for line in lines[lines.index("next:") + 1 :])
    typed = f'set -eu\nheadrace() {{ "$PYTHON" -m headrace "$@"; }}\n{script}\n'
    done = subprocess.run(
        ["bash", "-c", typed],
        cwd=shell.folder,
        env={**shell.env, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "done in" in done.stdout
    assert 'OrderConfirmed  {"order_id": "order-1", "text": "Thank you! You have paid 9.50."}' in done.stdout


def test_the_commands_of_its_readme_are_those_it_says(project: Shell, shell: Shell) -> None:
    said = shell.run("new", "other").stdout.partition("next:\n")[2].splitlines()[1:]
    readme = (project.folder / "README.md").read_text().partition("```sh\n")[2].partition("```")[0].splitlines()
    assert [line.partition("   #")[0].strip() for line in readme] == [line.strip() for line in said]


def test_its_tests_pass(project: Shell) -> None:
    # As `pytest` is called, which does not put the folder on the path as `python -m pytest` does.
    program = "import sys, pytest; sys.path.remove(''); sys.exit(pytest.main(['-p', 'no:cacheprovider']))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_its_function_handles_orders_and_sets_aside_what_is_wrong(project: Shell) -> None:
    (function,) = project.json("functions")
    assert (function["name"], function["topics"], function["types"]) == ("confirm_order", ["orders"], ["OrderPlaced"])
    orders = [{"order_id": f"o{n}", "email": "ada@example.com", "total": n} for n in range(4)]
    project.run("emit", "orders", "-", "--key-field", "order_id", stdin="".join(json.dumps(o) + "\n" for o in orders))
    project.run("run", "--until-idle")
    assert sorted(event["data"]["order_id"] for event in project.tail("confirmations")) == ["o1", "o2", "o3"]
    (letter,) = project.tail("mill.confirm_order.dlt")
    assert letter["headers"]["headrace-error-message"] == "there is nothing to pay"


def test_the_app_has_the_name_that_is_given_else_the_folders(shell: Shell) -> None:
    assert shell.json("new", "here", "--name", "Water_Mill") == {
        "folder": str(shell.folder / "here"),
        "app": "Water_Mill",
        "files": FILES,
    }
    assert 'app = "Water_Mill"' in (shell.folder / "here" / "headrace.toml").read_text()
    assert "docker build -t water-mill ." in (shell.folder / "here" / "README.md").read_text()
    settings = {line["name"]: line["value"] for line in Shell(shell.folder / "here").json("config")}
    assert settings["app"] == "Water_Mill"
    assert shell.json("new", "my mill")["app"] == "my-mill"


@pytest.mark.parametrize("name", ["a b", "", "a.b", "x" * 61, "mühle"])
def test_a_name_that_is_none_is_wrong_usage(shell: Shell, name: str) -> None:
    assert "1 to 60 letters, digits, '_' or '-'" in shell.run("new", "mill", "--name", name, code=2).stderr
    assert not (shell.folder / "mill").exists()


def test_a_folder_that_is_not_empty_is_refused_with_what_is_in_the_way(project: Shell, shell: Shell) -> None:
    before = (project.folder / "functions.py").stat().st_mtime_ns
    refused = shell.run("new", "mill", code=1).stderr
    assert "mill is not empty: .dockerignore, .gitignore, Dockerfile, README.md, functions.py and 3 more" in refused
    assert (project.folder / "functions.py").stat().st_mtime_ns == before
    assert "Not a directory" in shell.run("new", "mill/README.md", code=1).stderr


def test_a_repository_and_an_environment_may_be_there_before(shell: Shell) -> None:
    for name in (".git", ".venv"):
        (shell.folder / name).mkdir()
    lines = shell.run("new", ".").stdout.splitlines()
    assert "a project of the app 'shop'" in lines[0]
    assert "  cd" not in "\n".join(lines)


def test_its_image_is_headraces_own_with_the_functions_on_top(project: Shell) -> None:
    lines = (project.folder / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "ARG IMAGE=headrace",
        "FROM ${IMAGE}",
        "COPY . ./",
    ]
