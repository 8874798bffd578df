"""Runtimes of one app as processes: to start, watch, kill, freeze and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fault.kafka_watch import PATIENCE_S, wait_for
from harness import Shell, children_of
from kafkaserver.process import stands_still


class Runtime:
    """One `headrace run`. Its log is a file of JSON lines; each change of a function's state is a line, too."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log

    def __repr__(self) -> str:
        return f"<Runtime {self.process.pid}, {self.log.name}>"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        text = self.log.read_text(errors="replace")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]

    @property
    def states(self) -> list[tuple[str, str]]:
        """The states of its function so far, each with the reason."""
        return [(line["state"], line["reason"]) for line in self.lines if line["event"] == "state"]

    def wait_until_serving(self) -> None:
        """It has joined its groups."""
        self.wait_for_line(lambda line: line["event"] == "serving", "serving")

    def wait_for_line(self, right: Callable[[dict[str, Any]], bool], what: str, after: int = 0) -> dict[str, Any]:
        """The first line of its log that is right, from the line `after` on."""
        wait_for(lambda: self.ended or any(map(right, self.lines[after:])), f"{what} in {self.log}")
        found = [line for line in self.lines[after:] if right(line)]
        assert found, f"ended with {self.process.returncode} before it said {what}: {self.tail}"
        return found[0]

    def wait_for_state(self, state: str, *words: str, after: int = 0) -> str:
        """The reason of that state, which has these words, once the function was in it after so many lines."""

        def right(line: dict[str, Any]) -> bool:
            return line["event"] == "state" and line["state"] == state and all(word in line["reason"] for word in words)

        reason: str = self.wait_for_line(right, f"{state} {words}", after)["reason"]
        return reason

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    @property
    def workers(self) -> list[int]:
        """Its workers: the children of its zygote."""
        return [worker for zygote in children_of(self.process.pid) for worker in children_of(zygote)]

    def stop(self) -> None:
        """Freeze its parent process, and wait until all of it stands still: it may go on for a moment."""
        self.send(signal.SIGSTOP)
        wait_for(lambda: stands_still(self.process.pid), "the runtime to stand still", every_s=0.001)

    @property
    def memory_bytes(self) -> int:
        """What its parent process has in memory, shared pages too."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """What its parent process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, patience_s: float = PATIENCE_S) -> int:
        """SIGTERM, and its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(patience_s)


class Fleet:
    """The runtimes of a shell's folder. What still runs at the end is killed."""

    def __init__(self, shell: Shell) -> None:
        shell.folder.mkdir(parents=True, exist_ok=True)
        self.shell = shell
        self.runtimes: list[Runtime] = []
        self.stack = ExitStack()
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runtime in self.runtimes:
            if not runtime.ended:
                runtime.send(signal.SIGCONT)
        self.stack.close()

    def launch(self, shell: Shell, *arguments: str) -> Runtime:
        """One more, by the program of this shell."""
        self._started += 1
        log = self.shell.write(f"runtime-{self._started}.log", "")
        with log.open("w") as stream:
            started = shell.start("run", "--json", *arguments, stderr=stream, stdout=subprocess.DEVNULL)
            runtime = Runtime(self.stack.enter_context(started), log)
        self.runtimes.append(runtime)
        return runtime

    def kill(self, runtime: Runtime) -> None:
        """With SIGKILL; its zygote and workers notice and end."""
        runtime.send(signal.SIGKILL)
        runtime.process.wait()
        self.runtimes.remove(runtime)

    def end(self, *runtimes: Runtime) -> list[int]:
        """SIGTERM to these at once, or to all; their exit codes."""
        ending = runtimes or tuple(self.runtimes)
        for runtime in ending:
            runtime.send(signal.SIGTERM)
        return [runtime.process.wait(PATIENCE_S) for runtime in ending]
