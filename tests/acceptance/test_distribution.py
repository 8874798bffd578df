"""What is published: the contents of wheel and sdist, and that the wheel runs where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"functions", "sandbox", "runtime", "triggers"}


@dataclass(frozen=True)
class Built:
    """A wheel and an sdist of this checkout."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, made as a release makes them: the sdist from the checkout, the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment that holds the wheel.

    Its dependencies are those of the environment the tests run in, put behind its own packages by a path file. Path
    files are not followed from there, so the editable install of this checkout stays out.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, symlinks=True, with_pip=False)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(built.wheel))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def _run(*command: str, cwd: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEADRACE_"))}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _sources(folder: str) -> set[str]:
    """The files under `folder` that git would commit."""
    listed = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder, cwd=ROOT)
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_holds_the_package_and_the_storefront_and_nothing_else(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    examples = {f"headrace/{name}" for name in _sources("examples/storefront")}
    assert examples != set()
    assert names - metadata == _sources("headrace") | examples
    assert any(name.endswith("licenses/LICENSE") for name in metadata)
    assert any(name.endswith("entry_points.txt") for name in metadata)
    assert "headrace/py.typed" in names


def test_the_sdist_holds_what_a_packager_needs_and_no_link(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    assert [member.name for member in members if member.issym() or member.islnk()] == []
    assert {name.split("/")[0] for name in names} & ROOMS == set()
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"} <= names
    assert _sources("headrace") | _sources("tests") | _sources("examples") <= names
    assert {name for name in names if "__pycache__" in name or name.startswith(".venv")} == set()


def test_the_wheel_is_what_is_imported_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    where = _run(str(installed / "python"), "-c", "import headrace; print(headrace.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    found = _run(
        str(installed / "python"),
        "-c",
        "import importlib.util as i; print([i.find_spec(n) for n in ('runtime', 'triggers', 'functions', 'sandbox')])",
        cwd=tmp_path,
    )
    assert found.strip() == "[None, None, None, None]"


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in _run(str(installed / "headrace"), "--version", cwd=tmp_path)
    assert version in _run(str(installed / "python"), "-m", "headrace", "--version", cwd=tmp_path)


def test_the_installed_demo_runs_to_its_end(installed: Path, tmp_path: Path) -> None:
    assert _run(str(installed / "headrace"), "demo", "--orders", "5", cwd=tmp_path) != ""
