"""Runtimes of one app on Kafka, with short times."""

from __future__ import annotations

from pathlib import Path

from fault.fleet import Fleet, Runtime
from harness import Shell

WRAPPER = Path(__file__).with_name("kafka_planted.py")
SHORT = {  # seconds; what is waited for comes soon
    "HEADRACE_KAFKA__SESSION_TIMEOUT": "6",
    "HEADRACE_KAFKA__REBALANCE_TIMEOUT": "30",
    "HEADRACE_KAFKA__MAX_POLL_INTERVAL": "30",
}


class KafkaFleet(Fleet):
    """The runtimes of a shop. `planted`: the defects they have."""

    def __init__(self, folder: Path, url: str, functions: str, *planted: str, **environment: str) -> None:
        settings = {"HEADRACE_APP": "shop", "HEADRACE_BROKER": url, **SHORT, **environment}
        super().__init__(Shell(folder, settings, program=(str(WRAPPER), "told", *planted, "--")))
        self.shell.write("functions.py", functions)

    def start(self, *arguments: str) -> Runtime:
        """One more."""
        return self.launch(self.shell, *arguments)
