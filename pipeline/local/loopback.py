"""Free ports on the loopback interface.

A port is chosen outside the range that the kernel gives to outgoing connections. Inside it, a client that keeps trying
to reach a server that is down may be given the server's own port as its source, connect to itself, and so keep the
server from coming back. Between choosing and binding another process may take the port: whoever starts a server chooses
again when the server says that it could not bind.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from pipeline.errors import OutsideError

HOST = "127.0.0.1"
_LOWEST, _HIGHEST = 15_000, 65_000
_KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _outgoing() -> range:
    """The ports that the kernel gives to outgoing connections (RFC 6335's dynamic range where it does not say)."""
    try:
        low, high = map(int, _KERNEL_RANGE.read_text().split())
    except (OSError, ValueError):
        return range(49_152, 65_536)
    return range(low, high + 1)


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listened on a moment ago. Raises OutsideError when none is found."""
    outgoing = _outgoing()
    candidates = [port for port in range(_LOWEST, _HIGHEST) if port not in outgoing] or list(range(_LOWEST, _HIGHEST))
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates[:1000]:
        if is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise OutsideError("No free port was found on the loopback interface; end some of the servers that listen there.")


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now (a closed connection that lingers there does not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether something accepts connections on `port`."""
    try:
        with socket.create_connection((HOST, port), timeout=0.5):
            return True
    except OSError:
        return False
