"""What is small on the wire and large in memory, on servers that run as the guides say."""

import json
import socket
import struct
import zlib
from pathlib import Path

import pytest
import websockets

from tests.processes import environment
from tests.servers import SERVERS, RunningServer

pytestmark = pytest.mark.server

MIB = 1024 * 1024
PATH = "/async/echo/"
TEXT, CONTINUED, LAST, COMPRESSED = 0x01, 0x00, 0x80, 0x40


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    kind = SERVERS[request.param]
    kind.require()
    log = tmp_path_factory.mktemp(request.param) / "log"
    env = environment(LIMITS_TRUSTED=json.dumps([]))
    application = "tests.integration.limits_site:application"
    with RunningServer(kind, application, log=log, env=env, strict=True) as running:
        yield running


def peak(server):
    """The most memory that its largest process has occupied so far."""
    statuses = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            group = (status.parent / "stat").read_text().rpartition(")")[2].split()[2]
        except OSError:  # it has just ended
            continue
        if int(group) == server.process.pid:
            statuses.append(int(text.partition("VmHWM:")[2].split()[0]) * 1024)
    return max(statuses)


def frame(first, payload):
    """A frame of a client, masked with zeros."""
    return struct.pack("!BBQ4x", first, 0xFF, len(payload)) + payload


def connected(server):
    """A raw socket that has asked for compression, and what the server has answered."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(
        f"GET {server.root}{PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    return client, head


async def expect_small(server, before):
    """The server still serves, and did not grow by 100 MiB."""
    async with websockets.connect(f"{server.ws_url}{server.root}{PATH}") as honest:
        await honest.send("hello")
        assert (await honest.recv()).startswith("5 ")
    assert peak(server) - before < 100 * MIB


@pytest.fixture(scope="module")
def bomb():
    """A text of 400 MiB in 400 KB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [packer.compress(b"a" * MIB) for _ in range(400)]
    packed = b"".join(parts) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed.removesuffix(b"\0\0\xff\xff")


async def test_a_bomb_is_not_inflated(server, bomb):
    before = peak(server)
    client, head = connected(server)
    assert (b"permessage-deflate" in head) == (server.kind.package == "uvicorn")
    with client:
        try:
            client.sendall(frame(TEXT | LAST | COMPRESSED, bomb))
            while client.recv(65536):
                pass
        except (ConnectionError, TimeoutError):  # it does not listen to that any longer
            pass
    await expect_small(server, before)


async def test_a_message_without_end_is_not_kept(server):
    before = peak(server)
    client, _ = connected(server)
    with client:
        try:
            client.sendall(frame(TEXT, b"a" * MIB))
            for _ in range(250):
                client.sendall(frame(CONTINUED, b"a" * MIB))
        except (ConnectionError, TimeoutError):  # the same
            pass
    await expect_small(server, before)
