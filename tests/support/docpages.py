"""The code blocks of the documentation, and what is done with each: nothing that a reader may copy is untried.

A block is marked by an HTML comment on the line before it, which readers do not see:

    <!-- skip: why it cannot be run here -->      not run
    <!-- of: examples/storefront/shop.py -->      an excerpt: these very lines are in that file
    <!-- exits: 1 -->                             the block's last command ends so
    <!-- settings -->                             shell variables (its `export` lines) that are read as settings

A Python or TOML block whose first line is a comment with a file's name is written to that file; other Python blocks are
run. Shell blocks are run, one after another, in one folder for each page; in `console` blocks the lines after `$ ` are
commands, and the others what is printed, with `…` for what may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[a-z]+)(?:: (?P<value>.*?))? -->\n+)?(?P<indent> *)```(?P<language>[a-z]*)\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, what it says, and how it is marked."""

    page: Path
    line: int
    language: str
    text: str
    mark: str | None
    value: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file this block is the content of."""
        name = _NAME.match(self.text) if self.language in {"python", "toml"} else None
        return name[1] if name else None

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Of a console block: each command, and what it prints."""
        pairs: list[tuple[str, str]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                pairs.append((line[2:], ""))
            elif pairs and pairs[-1][0].endswith("\\"):
                pairs[-1] = (f"{pairs[-1][0]}\n{line}", "")
            elif pairs:
                pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}{line}\n")
        return pairs


def pages() -> list[Path]:
    """Everything a reader reads."""
    readmes = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("examples/*/README.md"))]
    return [*readmes, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        indent = found["indent"]
        body = "".join(line.removeprefix(indent) for line in found["text"].splitlines(keepends=True))
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(page, line, found["language"], body, found["mark"], found["value"])


def fits(printed: str, expected: str) -> bool:
    """Whether the expected lines are among those printed, in this order; `…` stands for anything within a line.

    Spaces at the ends of lines do not count, and a line that is `…` alone stands for any number of lines.
    """
    patterns = [
        re.escape(line.strip()).replace("…", ".*") for line in expected.splitlines() if line.strip() not in {"", "…"}
    ]
    rest = iter(line.strip() for line in printed.splitlines())
    return all(any(re.fullmatch(pattern, line) for line in rest) for pattern in patterns)
