"""What a hostile client costs beside an honest one: ``python -m benchmarks.refusals``.

One server (uvicorn) serves the same consumers within their limits and over them. Clients of the one
kind and of the other take turns, again and again, so that what else the machine does hits both. The
figure is the server's CPU time for each handshake (until it has been answered and the connection is
closed), and for each message of a client that sends many.

*shared* is a handshake as well, of a client whose connections are counted over Redis for all
processes together. What is refused there has its one connection open in another process.
"""

import argparse
import contextlib
import socket
import statistics
import struct
import sys
from collections.abc import Callable

from .observability import cpu_seconds
from .servers import Redis, Server, cores, find_redis, pin

__all__ = ["Costs", "Work", "handshakes", "main", "measure", "messages"]

KINDS = ("handshake", "shared", "message", "size")
_HANDSHAKES = ("handshake", "shared")
ACTIONS = ("accepted", "refused")
STYLES = ("async", "sync")

#: Does some work at a port and a path, so often as it is told.
Work = Callable[[int, str, int], None]
#: Microseconds for each handshake or message, one figure for each turn, by action.
Costs = dict[str, list[float]]

_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_CLOSE = struct.pack("!BB4xH", 0x88, 0x82, 1000)
_TEXT = struct.pack("!BB4x", 0x81, 0x80 | 20) + b"x" * 20


def _connect(port: int, path: str) -> tuple[socket.socket, bytes]:
    """A socket whose handshake has been answered, and the answer."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = client.recv(4096)
        if not part:
            break
        answer += part
    return client, answer


def _end(client: socket.socket) -> None:
    """Close in good order, and wait until the server has."""
    try:
        client.sendall(_CLOSE)
        while client.recv(4096):
            pass
    except ConnectionError:
        pass
    client.close()


def handshakes(port: int, path: str, number: int) -> None:
    """So many handshakes, each closed when it has been answered."""
    for _ in range(number):
        client, answer = _connect(port, path)
        if answer.startswith(b"HTTP/1.1 101 "):
            _end(client)
        else:
            client.close()


def messages(port: int, path: str, number: int) -> None:
    """So many messages of one client, whatever the server says to it meanwhile."""
    client, answer = _connect(port, path)
    if not answer.startswith(b"HTTP/1.1 101 "):
        client.close()
        raise RuntimeError(f"{path} was refused: {answer!r}")
    try:
        for _ in range(number // 100):
            client.sendall(_TEXT * 100)
    except ConnectionError:
        client.close()
        raise RuntimeError(f"{path} does not read what comes after the close") from None
    _end(client)


def measure(server: Server, style: str, kind: str, turns: int, number: int) -> Costs:
    """What each of ``number`` handshakes or messages costs."""
    work: Work = handshakes if kind in _HANDSHAKES else messages
    costs: Costs = {action: [] for action in ACTIONS}
    for turn in range(turns + 1):
        for action in ACTIONS if turn % 2 else reversed(ACTIONS):
            before = cpu_seconds(server.process.pid)
            work(server.port, f"/{style}/{kind}/{action}", number)
            if turn:  # the first warms up
                spent = cpu_seconds(server.process.pid) - before
                costs[action].append(spent * 1e6 / number)
    return costs


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals", description=__doc__)
    parser.add_argument("--turns", type=int, default=10, help="of each client (default: 10)")
    parser.add_argument("--number", type=int, default=1000, help="for each turn (default: 1000)")
    options = parser.parse_args(arguments)
    print("| Consumer | What | Accepted | Refused | Ratio |")
    print("|---|---|---:|---:|---:|")
    server_core, load_core = cores() or (None, None)
    binary = find_redis()
    with contextlib.ExitStack() as stack:
        environ = {}
        if binary is not None:
            redis = stack.enter_context(Redis(binary, load_core))
            environ["REDIS_URL"] = f"redis://127.0.0.1:{redis.port}/0"
            other = stack.enter_context(Server(sys.executable, "limited", load_core, environ))
            for style in STYLES:
                client, _ = _connect(other.port, f"/{style}/shared/refused")
                stack.callback(client.close)
        server = stack.enter_context(Server(sys.executable, "limited", server_core, environ))
        pin(0, load_core)
        for style in STYLES:
            for kind in KINDS:
                if kind == "shared" and binary is None:
                    continue
                costs = measure(server, style, kind, options.turns, options.number)
                accepted, refused = (statistics.median(costs[action]) for action in ACTIONS)
                figures = f"{accepted:,.1f} µs | {refused:,.1f} µs | {refused / accepted:.2f}"
                print(f"| {style} | {kind} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
