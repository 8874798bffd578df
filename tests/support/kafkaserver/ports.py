"""Free TCP ports that stay free while their broker is down."""

from __future__ import annotations

import os
import random
import socket

# Below the range from which the kernel takes ports for outgoing connections. A client that keeps trying a port of that
# range while its broker is down can be given this very port as its own and connect to itself: the broker then cannot
# bind.
LOWEST, HIGHEST = 20_000, 30_000


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nothing listens on."""
    ours = _ours()
    return [port for port in random.sample(ours, min(20 * count, len(ours))) if is_free(port)][:count]


def _ours() -> range:
    """Each process of a test run draws from its own: what is free to one, another may be about to bind."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number %= count  # one that takes the place of another that died is numbered on: gw2 of 2
    width = (HIGHEST - LOWEST) // count
    return range(LOWEST + number * width, LOWEST + (number + 1) * width)


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
