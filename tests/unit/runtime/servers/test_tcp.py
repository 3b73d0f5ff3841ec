"""What the kernel tells of a connection, on Linux."""

import asyncio
import contextlib
import math
import os
import socket
import sys

import pytest

from channels._runtime.servers import tcp
from channels._runtime.servers.tcp import (
    acknowledged,
    acknowledged_by_address,
    unsent,
    unsent_by_address,
)
from tests.asgi import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@contextlib.contextmanager
def connected():
    """The server's and the client's end of a connection, with the client's small buffer."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listening.getsockname())
        server, _ = listening.accept()
        with server:
            server.setblocking(False)
            yield server, client


def fill(server):
    with contextlib.suppress(BlockingIOError):
        while True:
            server.send(b"x" * 65536)


async def standing(figure):
    """The figure as soon as it does not grow any more."""
    before = -1
    while (now := figure()) != before:
        before = now
        await asyncio.sleep(0.1)
    return now


async def test_the_figure_grows_only_while_the_other_side_reads():
    with connected() as (server, client):
        fill(server)
        before = await standing(lambda: acknowledged(server))
        assert before > 0

        def reads():
            client.recv(2048)
            return acknowledged(server) > before

        await until(reads)


async def test_what_is_unsent_is_less_when_the_other_side_has_read(monkeypatch):
    monkeypatch.setattr(tcp, "_rests_until", -math.inf)
    with connected() as (server, client):
        assert unsent(server) == 0
        fill(server)
        full = await standing(lambda: unsent(server))
        assert full > 65536
        scope = {"client": client.getsockname(), "server": server.getsockname()}
        assert unsent_by_address(scope) == full

        def reads():
            client.recv(65536)
            return unsent(server) < full / 2

        await until(reads)


def test_what_is_unsent_of_no_connection(monkeypatch):
    closed = socket.socket()
    closed.close()
    assert [unsent(it) for it in (None, closed, object())] == [None] * 3
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        assert unsent(other) in {None, 0}
    monkeypatch.setattr(tcp, "_ON_LINUX", False)
    with connected() as (server, _):
        assert unsent(server) is None


async def test_a_socket_is_found_by_its_addresses(monkeypatch):
    monkeypatch.setattr(tcp, "_rests_until", -math.inf)
    with connected() as (server, client):
        scope = {"client": client.getsockname(), "server": list(client.getpeername())}
        fill(server)
        before = await standing(lambda: acknowledged(server))
        assert acknowledged_by_address(scope) == before
        assert acknowledged_by_address(scope) == before  # by what is known
        texts = {key: [host, str(port)] for key, (host, port) in scope.items()}
        assert acknowledged_by_address(texts) == before
        assert server.fileno() >= 0  # it is nobody's but the server's
    assert acknowledged_by_address(scope) is None


@pytest.mark.parametrize(
    "scope",
    [{}, {"client": None, "server": None}, {"client": ["127.0.0.1", 1], "server": ["x", None]}],
)
def test_a_socket_may_be_unknown(scope):
    assert acknowledged_by_address(scope) is None


def test_a_descriptor_that_has_become_another_connections_is_not_asked(monkeypatch):
    monkeypatch.setattr(tcp, "_rests_until", -math.inf)
    with connected() as (server, client), connected() as (another, _):
        scope = {"client": client.getsockname(), "server": client.getpeername()}
        assert acknowledged_by_address(scope) is not None
        os.dup2(another.fileno(), server.fileno())  # closes the first, and takes its number
        assert acknowledged_by_address(scope) is None


def test_on_other_systems_nothing_is_known(monkeypatch):
    with connected() as (server, client):
        scope = {"client": client.getsockname(), "server": client.getpeername()}
        monkeypatch.setattr(tcp, "_ON_LINUX", False)
        assert acknowledged(server) is None
        assert acknowledged_by_address(scope) is None


@pytest.mark.parametrize(("cost", "rest"), [(0.0, 0.25), (0.002, 0.25), (0.02, 1.0)])
def test_descriptors_are_looked_for_as_often_as_that_is_cheap(monkeypatch, cost, rest):
    looked, now, cpu = [], [1000.0], [0.0]

    def listdir(path):
        looked.append(path)
        cpu[0] += cost
        return []

    monkeypatch.setattr(tcp, "_rests_until", -math.inf)
    monkeypatch.setattr(tcp.os, "listdir", listdir)
    monkeypatch.setattr(tcp.clock, "now", lambda: now[0])
    monkeypatch.setattr(tcp.time, "thread_time", lambda: cpu[0])

    def look():
        for _ in range(100):
            assert acknowledged_by_address({"client": ["a", 1], "server": ["b", 2]}) is None

    look()
    assert len(looked) == 1
    now[0] += rest * 0.9
    look()
    assert len(looked) == 1
    now[0] += rest * 0.2
    look()
    assert len(looked) == 2


async def test_a_connection_is_known_soon_though_others_were_looked_for_before(monkeypatch):
    monkeypatch.setattr(tcp, "_rests_until", -math.inf)
    with connected() as (_server, client):
        scope = {"client": client.getsockname(), "server": client.getpeername()}
        assert acknowledged_by_address(scope) is not None
        with connected() as (_, newcomer):
            scope = {"client": newcomer.getsockname(), "server": newcomer.getpeername()}
            await until(lambda: acknowledged_by_address(scope) is not None)


def test_what_is_no_tcp_is_unknown():
    one, other = socket.socketpair()
    with one, other:
        assert acknowledged(one) is None
    assert acknowledged(None) is None
    assert acknowledged(object()) is None
    assert acknowledged(one) is None  # closed
