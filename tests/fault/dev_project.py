"""A project that is edited while `headrace dev` serves it: its files, and the ways to change them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

_FUNCTIONS = """
from pydantic import BaseModel
from headrace import Context, function
from helper import WORD
{imports}

class Event(BaseModel):
    n: int

class Seen(BaseModel):
    n: int
    place: str
    version: int
    word: int

@function("in", emits={{"out": Seen}}{options})
def note(event: Event, ctx: Context) -> Seen:
    place = f"{{ctx.event.partition}}/{{ctx.event.offset}}"
    return Seen(n=event.n, place=place, version={version}, word=WORD)
{side}"""

_SIDE = """
@function("{topic}")
def {name}(event: dict) -> None:
    pass
"""

_OPTIONS = ("", ", retry={'attempts': 7}", ", timeout=11.0", ", workers=(1, 2)", ", concurrency=1, max_hops=9")
MODULES = 40  # that come with a checkout


@dataclass(frozen=True)
class State:
    """What the files say. `version` is in the functions' file, `word` in the helper's."""

    version: int = 0
    word: int = 0
    options: str = ""
    imports: str = ""
    side: str | None = None
    topic: str = "side"

    @property
    def functions(self) -> str:
        side = "" if self.side is None else _SIDE.format(name=self.side, topic=self.topic)
        return _FUNCTIONS.format(version=self.version, options=self.options, imports=self.imports, side=side)

    @property
    def helper(self) -> str:
        return f"WORD = {self.word}\n"


Told = Callable[[str], Awaitable[None]]
"""What waits for a notice of that kind, of those that come from now on."""


class Project:
    """A folder with functions. Each edit leaves files that say `state`."""

    def __init__(self, folder: Path, twin: Path, dice: random.Random) -> None:
        self.folder = folder
        self.state = State()
        self._twin = twin
        self._dice = dice
        self._new_modules = 0
        self._put("functions.py", self.state.functions)
        self._put("helper.py", self.state.helper)
        (folder / ".gitignore").write_text(".headrace/\n")
        self._git(folder, "init", "-q", "-b", "main")
        self._commit(folder)
        subprocess.run(["git", "clone", "-q", folder, twin], check=True, capture_output=True)

    # -- edits --------------------------------------------------------------------------------------------------------

    async def version(self, _told: Told) -> None:
        """A save as most editors do it: written beside, renamed over."""
        self._save(version=self.state.version + 1)

    async def helper(self, _told: Told) -> None:
        """Another module, written in place."""
        self.state = replace(self.state, word=self.state.word + 1)
        (self.folder / "helper.py").write_text(self.state.helper)

    async def options(self, _told: Told) -> None:
        """Other options."""
        self._save(version=self.state.version + 1, options=self._dice.choice(_OPTIONS))

    async def broken(self, told: Told) -> None:
        """Something that cannot be compiled, until it is told; then mended."""
        waiting = told("broken")
        self._put("functions.py", self.state.functions + "def (\n")
        await waiting
        self._save(version=self.state.version + 1)

    async def dependency(self, told: Told) -> None:
        """A module that is not there yet."""
        self._new_modules += 1
        name = f"dependency_{self._new_modules}"
        waiting = told("broken")
        self._save(version=self.state.version + 1, imports=f"import {name}")
        await waiting
        self._put(f"{name}.py", "")

    async def half_written(self, _told: Told) -> None:
        """A file that is written in two steps."""
        self.state = replace(self.state, version=self.state.version + 1)
        text = self.state.functions
        half = self._dice.randrange(len(text))
        with (self.folder / "functions.py").open("w") as file:
            for part in (text[:half], text[half:]):
                file.write(part)
                file.flush()

    async def deleted(self, _told: Told) -> None:
        """Gone, and there again."""
        (self.folder / self._dice.choice(["functions.py", "helper.py"])).unlink()
        self.state = replace(self.state, version=self.state.version + 1, word=self.state.word + 1)
        self._put("helper.py", self.state.helper)
        self._put("functions.py", self.state.functions)

    async def gone(self, told: Told) -> None:
        """Gone until that is told."""
        waiting = told("broken")
        (self.folder / "functions.py").unlink()
        await waiting
        self._save(version=self.state.version + 1)

    async def checkout(self, _told: Told) -> None:
        """Many files at once, by git."""
        state = replace(self.state, version=self.state.version + 1, word=self.state.word + 1)
        for number in range(MODULES):
            (self._twin / f"module_{number}.py").write_text(f"VERSION = {state.version}\n")
        for path in self.folder.glob("dependency_*.py"):
            (self._twin / path.name).write_text(path.read_text())
        (self._twin / "functions.py").write_text(state.functions)
        (self._twin / "helper.py").write_text(state.helper)
        self._commit(self._twin)
        self._git(self.folder, "fetch", "-q", self._twin, "HEAD")
        self.state = state
        self._git(self.folder, "checkout", "-q", "-f", "FETCH_HEAD")

    async def side(self, told: Told) -> None:
        """A second function comes, is renamed, subscribes to something else, and goes."""
        waiting = told("reload")
        if self.state.side is None:
            self._save(side="first_name", topic="side")
        elif self.state.side == "first_name":
            self._save(side="second_name")
        elif self.state.topic == "side":
            self._save(topic="other_side")
        else:
            self._save(side=None)
        await waiting
        self._save(version=self.state.version + 1)

    @property
    def kinds(self) -> list[Callable[[Told], Awaitable[None]]]:
        """All edits there are."""
        return [
            self.version,
            self.helper,
            self.options,
            self.broken,
            self.dependency,
            self.half_written,
            self.deleted,
            self.gone,
            self.checkout,
            self.side,
        ]

    # -- files --------------------------------------------------------------------------------------------------------

    def _save(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self._put("functions.py", self.state.functions)

    def _put(self, name: str, text: str) -> None:
        draft = self.folder / f".{name}.new"
        draft.write_text(text)
        draft.rename(self.folder / name)

    def _commit(self, folder: Path) -> None:
        self._git(folder, "add", "-A")
        self._git(folder, "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-q", "-m", "as it is")

    def _git(self, folder: Path, *arguments: object) -> None:
        subprocess.run(["git", *map(str, arguments)], cwd=folder, check=True, capture_output=True)
