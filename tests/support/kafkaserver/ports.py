"""Free TCP ports that stay free while their broker is down."""

from __future__ import annotations

import random
import socket

# Below the range from which the kernel takes ports for outgoing connections. A client that keeps trying a port of that
# range while its broker is down can be given this very port as its own and connect to itself: the broker then cannot
# bind.
LOWEST, HIGHEST = 20_000, 30_000


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nothing listens on."""
    return [port for port in random.sample(range(LOWEST, HIGHEST), 20 * count) if is_free(port)][:count]


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
