"""A broker of one's own, from the jars: it can be restarted, killed and frozen, and keeps its port and its data."""

from __future__ import annotations

import base64
import signal
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from kafkaserver import acls
from kafkaserver.jars import LOGGING, jars
from kafkaserver.java import java
from kafkaserver.ports import free_ports
from kafkaserver.process import BrokerFailed, BrokerProcess
from kafkaserver.properties import single_node, write_properties
from kafkaserver.security import LISTENERS, Security, new_certificates, scram_options, secure

_FLAGS = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]


class KafkaServer:
    """A broker whose data is in `folder`. All methods block: in a running loop use `asyncio.to_thread`.

    `port` is free by default, and stays over restarts. `properties` come on top of the fast ones of this package. With
    `secured` it has more listeners and refuses what no ACL allows, see `security`; the plain one is the super user's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        properties: Mapping[str, str] = MappingProxyType({}),
        secured: bool = False,
    ) -> None:
        self._folder = folder
        self._extra = properties
        plain, controller, *others = free_ports(2 + len(LISTENERS))
        self.port = port or plain
        self._controller = controller
        self._listeners = dict(zip(LISTENERS, others, strict=True)) if secured else {}
        self._security: Security | None = None
        self._process: BrokerProcess | None = None

    def __repr__(self) -> str:
        state = f"running as process {self._process.pid}" if self.running and self._process else "not running"
        return f"<KafkaServer {self.url}, {state}, data in {self._folder}>"

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT` of the plain listener."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """`kafka://127.0.0.1:PORT` of the plain listener."""
        return f"kafka://{self.bootstrap}"

    @property
    def security(self) -> Security:
        """The other listeners, certificates, users; only with `secured=True`, after the first start."""
        assert self._security, "this broker is not secured, or was never started"
        return self._security

    @property
    def running(self) -> bool:
        """Whether there is a process, be it frozen."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Format the folder if it is new, start, and return when the broker serves. `BrokerFailed` says why not."""
        assert not self.running, "it runs already"
        config = self._folder / "server.properties"
        if not config.exists():
            self._prepare(config)
        self._process = BrokerProcess([*self._java(), "kafka.Kafka", str(config)], self._folder / "broker.log")
        self._process.wait_until_ready(self.port)

    def stop(self) -> None:
        """End it cleanly, if it runs."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL: nothing is flushed, nobody is told."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, if it runs, and start on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it stand still (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._signal(signal.SIGCONT)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process, "it was never started"
        return self._process.wait()

    def log_tail(self) -> str:
        """The last lines it logged."""
        return self._process.tail() if self._process else ""

    def grant(self, user: str, operation: str, resource: str, name: str, pattern: str = "literal") -> None:
        """Allow `user` an operation ("read", "write", ... or "all") on a "topic", "group", "transactional_id" or
        "cluster" (its name is "kafka-cluster"); `pattern` is "literal" or "prefixed". In force on return."""
        acls.grant(self.port, acls.Rule(user, operation, resource, name, pattern))

    def revoke(self, user: str, operation: str, resource: str, name: str, pattern: str = "literal") -> None:
        """Take back what `grant` gave with the same arguments. In force on return."""
        acls.revoke(self.port, acls.Rule(user, operation, resource, name, pattern))

    def add_user(self, name: str, password: str) -> None:
        """A further user for SCRAM-SHA-256 and SCRAM-SHA-512, or another password for one."""
        acls.add_user(self.port, name, password)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process, "it was never started"
        self._process.send(number)

    def _java(self) -> list[str]:
        settings = [f"-Dlog4j2.configurationFile={LOGGING}"]
        return [java(), *_FLAGS, *settings, "-cp", f"{jars()}/*"]

    def _prepare(self, config: Path) -> None:
        """Write the configuration and format the data folder; the configuration comes into place last."""
        self._folder.mkdir(parents=True, exist_ok=True)
        properties = single_node({"PLAINTEXT": self.port, **self._listeners}, self._controller)
        properties["log.dirs"] = str(self._folder / "data")
        scram: list[str] = []
        if self._listeners:
            more, self._security = secure(self._listeners, new_certificates(self._folder / "certificates"))
            properties |= more
            scram = scram_options()
        draft = config.with_suffix(".draft")
        write_properties(draft, {**properties, **self._extra})
        self._format(draft, scram)
        draft.rename(config)

    def _format(self, config: Path, scram: list[str]) -> None:
        # No "-" in it: at the front it would be taken for an option.
        identity = base64.b64encode(uuid.uuid4().bytes, altchars=b"AB").decode().rstrip("=")
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", identity, "-c", str(config), *scram]
        done = subprocess.run([*self._java(), *tool], capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            raise BrokerFailed(f"the broker's folder could not be formatted: {done.stdout}{done.stderr}"[:4000])
