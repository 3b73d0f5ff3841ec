"""Ports for the servers that tests start."""

import secrets
import socket

__all__ = ["free_port"]

# Below what systems give to clients: from 32768 on Linux, from 49152 elsewhere.
_LOWEST, _HIGHEST = 20_000, 32_000

_given: set[int] = set()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on, and that no client will be given.

    A server is started there later, or again after a stop. A client that had got the port by then
    would be in its way; one that keeps trying to reach a server that is down might even be given
    that server's port, and be connected to itself.
    """
    while True:
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in _given:
            _given.add(port)
            return port
