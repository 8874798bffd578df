"""A broker in a container, for a shared one where Docker is at hand; same settings as the one from the jars."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from kafkaserver.jars import version
from kafkaserver.java import NoBroker
from kafkaserver.ports import free_ports
from kafkaserver.process import BrokerProcess
from kafkaserver.properties import single_node

PULL = 600.0  # seconds for fetching the image
INSIDE = 9093  # the controller's port, seen by nobody


def image() -> str:
    """The image and its tag."""
    return f"apache/kafka:{version()}"


def require_docker() -> str:
    """The program, once its daemon answers and has the image; else `NoBroker`."""
    docker = shutil.which("docker")
    if docker is None:
        raise NoBroker("there is no docker")
    if subprocess.run([docker, "version"], capture_output=True, timeout=60, check=False).returncode:
        raise NoBroker("the docker daemon does not answer")
    if subprocess.run([docker, "image", "inspect", image()], capture_output=True, timeout=60, check=False).returncode:
        pulled = subprocess.run(
            [docker, "pull", "--quiet", image()], capture_output=True, text=True, timeout=PULL, check=False
        )
        if pulled.returncode:
            raise NoBroker(f"docker cannot fetch {image()}: {pulled.stderr.strip()[-500:]}")
    return docker


class DockerServer:
    """A shared broker: it can be started and stopped, no more."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self._log = folder / "broker.log"
        self.port = port or free_ports(1)[0]
        self._process: BrokerProcess | None = None

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """`kafka://127.0.0.1:PORT`."""
        return f"kafka://{self.bootstrap}"

    def start(self) -> None:
        """Run the container; returns when the broker serves."""
        docker = require_docker()
        run = [docker, "run", "--rm", "--publish", f"127.0.0.1:{self.port}:{self.port}", *self._settings(), image()]
        # In the foreground: the client hands a SIGTERM on to the container, so that it ends when we do.
        self._process = BrokerProcess(run, self._log, on_our_death="TERM")
        self._process.wait_until_ready(self.port)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process:
            self._process.stop()

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process, "it was never started"
        return self._process.wait()

    def log_tail(self) -> str:
        """The last lines it logged."""
        return self._process.tail() if self._process else ""

    def _settings(self) -> list[str]:
        properties = single_node({"PLAINTEXT": self.port}, INSIDE)
        # Inside, all interfaces; the image formats for a static quorum.
        properties["listeners"] = f"PLAINTEXT://0.0.0.0:{self.port},CONTROLLER://127.0.0.1:{INSIDE}"
        properties["advertised.listeners"] = f"PLAINTEXT://{self.bootstrap}"
        properties["controller.quorum.voters"] = f"1@127.0.0.1:{INSIDE}"
        del properties["controller.quorum.bootstrap.servers"]
        names = {name: "KAFKA_" + name.upper().replace(".", "_") for name in properties}
        return [option for name, value in properties.items() for option in ("--env", f"{names[name]}={value}")]
