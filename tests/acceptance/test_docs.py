"""Every code block that a reader may copy is run, parsed, or marked with the reason why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest
from docpages import ROOT, Block, blocks_of, fits, pages
from harness import STOREFRONT, Mailbox, copy_of_storefront

PROLOGUE = """\
set -eu -o pipefail
headrace() { "$PYTHON" -m headrace "$@"; }
python() { "$PYTHON" "$@"; }
pytest() { "$PYTHON" -m pytest -q -p no:cacheprovider "$@"; }
if [ -e "$STATE" ]; then . "$STATE"; cd "$HERE"; fi
"""
EPILOGUE = """
export HERE=$PWD
export -p > "$STATE"
"""


class Reader:
    """Somebody who types a page from its top to its end, in a folder named `shop`."""

    def __init__(self, folder: Path, mailbox: Mailbox, page: Path) -> None:
        self.folder = folder / "shop"
        self.folder.mkdir()
        copy = copy_of_storefront(self.folder)
        if page.parent == STOREFRONT:  # its own README is read in its own folder
            self.folder = copy
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        self.env = {
            **clean,
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "PYTHON": sys.executable,
            "STATE": str(folder / "state"),
            "SMTP_URL": mailbox.url,
        }

    def read(self, block: Block) -> None:
        if block.mark == "skip":
            assert block.value, f"{block.place}: skipped without a reason"
            return
        special = {"of": self._excerpt, "settings": self._settings}.get(block.mark or "")
        act = special or self._by_language().get(block.language)
        assert act, f"{block.place}: nobody knows what to do with a block of {block.language or 'no language'}"
        act(block)

    def _by_language(self) -> dict[str, Callable[[Block], None]]:
        return {
            "python": self._python,
            "toml": self._toml,
            "json": lambda block: json.loads(block.text),
            "ini": lambda block: ConfigParser(strict=False, interpolation=None).read_string(block.text),
            "sh": self._shell,
            "bash": self._shell,
            "console": self._console,
            "text": lambda _: None,
        }

    def _python(self, block: Block) -> None:
        if block.file is not None:
            self._write(block)
        else:
            self._run([sys.executable, "-c", block.text], block)

    def _toml(self, block: Block) -> None:
        tomllib.loads(block.text)
        if block.file in {"headrace.toml", "pyproject.toml"}:
            self._write(block)
            self._run([sys.executable, "-c", _READ_SETTINGS], block)

    def _shell(self, block: Block) -> None:
        self._bash(block.text, block, int(block.value or 0) if block.mark == "exits" else 0)

    def _console(self, block: Block) -> None:
        expected_code = int(block.value or 0) if block.mark == "exits" else 0
        for number, (command, expected) in enumerate(block.commands, start=1):
            is_last = number == len(block.commands)
            printed = self._bash(command, block, expected_code if is_last else 0)
            assert fits(printed, expected), f"{block.place}: $ {command}\nprinted:\n{printed}\nexpected:\n{expected}"

    def _excerpt(self, block: Block) -> None:
        assert block.value is not None
        assert block.text in (ROOT / block.value).read_text(), f"{block.place}: these lines are not in {block.value}"

    def _settings(self, block: Block) -> None:
        exports = "".join(line + "\n" for line in block.text.splitlines() if line.startswith("export HEADRACE_"))
        assert exports, f"{block.place}: sets nothing"
        script = f"{exports}exec \"$PYTHON\" -c '{_READ_SETTINGS}'"
        self._run(["bash", "-eu", "-c", script], block, cwd=self.folder.parent)

    def _write(self, block: Block) -> None:
        assert block.file is not None
        if block.language == "python":
            compile(block.text, block.place, "exec")
        path = self._here() / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def _here(self) -> Path:
        state = Path(self.env["STATE"])
        here = [line.split("=", 1)[1].strip('"') for line in _lines(state) if line.startswith("declare -x HERE=")]
        return Path(here[0]) if here else self.folder

    def _bash(self, script: str, block: Block, code: int) -> str:
        # The state is kept before the last command too: it may be one that fails, as the page says.
        whole = f"{PROLOGUE}{script}{EPILOGUE}" if code == 0 else f"{PROLOGUE}{script}"
        return self._run(["bash", "-c", whole], block, code=code)

    def _run(self, command: list[str], block: Block, *, code: int = 0, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self._here(),
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, f"{block.place}: ended with {done.returncode}\n{block.text}\n{done.stdout}"
        return done.stdout


_READ_SETTINGS = (
    "from pathlib import Path; from headrace.runtime.settings import read_settings; read_settings(Path.cwd())"
)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_block_is_found_with_its_place_its_mark_and_its_language(tmp_path: Path) -> None:
    page = ROOT / "docs" / "storefront.md"
    blocks = list(blocks_of(page))
    assert [block.language for block in blocks if block.mark == "of"] != []
    for block in blocks:
        assert page.read_text().splitlines()[block.line - 1].strip() == f"```{block.language}"


def test_every_fence_of_every_page_is_part_of_a_block() -> None:
    for page in pages():
        fences = sum(line.strip().startswith("```") for line in page.read_text().splitlines())
        assert fences == 2 * len(list(blocks_of(page))), page


def test_what_is_expected_must_be_printed_in_its_order() -> None:
    assert fits("one\ntwo 2.5 ms\nthree\n", "one\n…\ntwo … ms\n")
    assert not fits("one\ntwo\n", "two\none\n")
    assert not fits("one\n", "two\n")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_works_from_its_top_to_its_end(page: Path, tmp_path: Path, mailbox: Mailbox) -> None:
    reader = Reader(tmp_path, mailbox, page)
    for block in blocks_of(page):
        reader.read(block)


def test_settings_that_are_not_known_would_be_found(tmp_path: Path, mailbox: Mailbox) -> None:
    page = ROOT / "README.md"
    block = Block(page, 1, "toml", '# headrace.toml\nbrokr = "x"\n', None, None)
    with pytest.raises(AssertionError, match="did you mean 'broker'"):
        Reader(tmp_path, mailbox, page).read(block)
