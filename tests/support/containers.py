"""A container engine for tests: podman or docker, an image of the project, and containers of it.

`HEADRACE_TEST_BASE_IMAGE` is what the image is built on, else the one its Dockerfile names.
`HEADRACE_TEST_BUILD_OPTIONS` holds further words for `build`, where a machine needs some.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).parents[2]
PATIENCE_S = 100
# As strict as an operator may be: nothing may need to write outside of the volume and /tmp, or any capability.
STRICT = ("--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "all", "--security-opt", "no-new-privileges")


class NoEngine(Exception):
    """There is no container engine here, or it cannot build the image; says why."""


@dataclass(frozen=True)
class Engine:
    """A container engine and the image that it has built."""

    program: str
    image: str

    @classmethod
    def with_image(cls) -> Engine:
        """The engine of this machine, the image built. Raises `NoEngine`."""
        program = shutil.which("podman") or shutil.which("docker")
        if program is None:
            raise NoEngine("neither podman nor docker is installed")
        engine = cls(program, f"localhost/headrace-test:{uuid4().hex[:8]}")
        base = os.environ.get("HEADRACE_TEST_BASE_IMAGE")
        words = [*(["--build-arg", f"BASE={base}"] if base else []), *engine.build_words]
        for _ in range(2):  # what it downloads may fail to come
            built = engine.call("build", *words, "-t", engine.image, str(ROOT), timeout=600)
            if not built.returncode:
                break
        else:
            raise NoEngine(f"{program} cannot build the image: {built.stderr.strip()[-600:]}")
        return engine

    @property
    def build_words(self) -> list[str]:
        """What `build` needs on this machine."""
        return ["--network", "host", *shlex.split(os.environ.get("HEADRACE_TEST_BUILD_OPTIONS", ""))]

    def call(
        self, *arguments: str, stdin: str | None = None, timeout: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the engine's program to its end."""
        return subprocess.run(
            [self.program, *arguments], input=stdin, text=True, capture_output=True, timeout=timeout, check=False
        )

    def said(self, *arguments: str, stdin: str | None = None) -> str:
        """What it prints; it must succeed."""
        result = self.call(*arguments, stdin=stdin)
        assert result.returncode == 0, f"{arguments} ended with {result.returncode}: {result.stdout}{result.stderr}"
        return result.stdout

    @contextmanager
    def volume(self) -> Iterator[str]:
        """A volume, removed at the end."""
        name = f"headrace-test-{uuid4().hex[:8]}"
        self.said("volume", "create", name)
        try:
            yield name
        finally:
            self.call("volume", "rm", "-f", name)

    @contextmanager
    def container(self, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
        """A running container, removed at the end."""
        name = f"headrace-test-{uuid4().hex[:8]}"
        self.said("run", "-d", "--name", name, "--network", "host", *STRICT, *options, self.image, *command)
        try:
            yield Container(self, name)
        finally:
            self.call("rm", "-f", name)

    def remove(self) -> None:
        """Forget the image."""
        self.call("rmi", "-f", self.image)


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    engine: Engine
    name: str

    def headrace(self, *arguments: str, stdin: str | None = None) -> str:
        """What the command prints, in there."""
        options = ["-i"] if stdin is not None else []
        return self.engine.said("exec", *options, self.name, "headrace", *arguments, stdin=stdin)

    def stop(self, seconds: int) -> int:
        """SIGTERM, and SIGKILL `seconds` later; its exit code."""
        self.engine.said("stop", "-t", str(seconds), self.name)
        return int(self.engine.said("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def wait_for(self, text: str) -> None:
        """Wait until it prints that."""
        command = [self.engine.program, "logs", "-f", self.name]
        with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as following:
            assert following.stdout is not None
            seen = []
            try:
                for line in following.stdout:  # until it has it, or the container ends
                    seen.append(line)
                    if text in line:
                        return
            finally:
                following.kill()
        raise AssertionError(f"{text!r} was not printed: {''.join(seen)}")

    @property
    def output(self) -> str:
        """What it has printed, on either stream."""
        result = self.engine.call("logs", self.name)
        return result.stdout + result.stderr
