"""The threads of synchronous consumers on real servers: nobody stops the others in silence."""

import asyncio
import base64
import contextlib
import dataclasses
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.servers import SERVERS, RunningServer

pytestmark = [pytest.mark.server, pytest.mark.slow]

THREADS = 2
DEADLINE = 20.0
# Seconds after which an answer counts as held up. Where clients that do not read hold threads, it
# takes until they are cut off, which is `send_timeout`, 20 s. A busy machine that encodes messages
# of 12 MB takes a second or two.
PROMPTLY = 8.0
# More than the kernel's buffers hold, of which the loopback interface has large ones.
MUCH = 12_000_000


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory) -> Iterator[RunningServer]:
    kind = SERVERS[request.param]
    kind.require()
    if request.param == "daphne":  # which limits what is sent as well, to 1 MiB by default
        option = f"--websocket-max-message-size={2 * MUCH}"
        kind = dataclasses.replace(kind, quiet=(*kind.quiet, option))
    log = tmp_path_factory.mktemp("server") / "log"
    application = "tests.integration.threads_site:application"
    with RunningServer(kind, application, log=log, env={"SYNC_THREADS": str(THREADS)}) as running:
        yield running
        print(running.output[-5000:])  # noqa: T201 - shown if a test has failed


@pytest.fixture
async def get(server):
    """Answers of the site, the Django part of which needs no thread."""
    async with httpx.AsyncClient(base_url=server.origin, timeout=DEADLINE) as http:
        yield http.get


class SlowClient:
    """A WebSocket that reads as much as it is told to, and no more behind anybody's back."""

    def __init__(self, server: RunningServer, path: str) -> None:
        self.socket = socket.socket()
        # Its system acknowledges what its buffer holds, in steps of a part of that.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**15)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", server.port))
        request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        self.read_until(b"\r\n\r\n")

    def read_until(self, end: bytes) -> None:
        read = b""
        while not read.endswith(end):
            read += self.read(1)

    def read(self, most: int) -> bytes:
        data = self.socket.recv(most)
        assert data, "the server has closed the connection"
        return data

    def send(self, text: str) -> None:
        payload = text.encode()
        self.socket.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


async def client_of(server: RunningServer) -> ClientConnection:
    return await connect(
        f"{server.ws_url}/ws/", max_size=None, compression=None, ping_interval=None,
        open_timeout=DEADLINE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def clients(server: RunningServer, number: int) -> AsyncIterator[list[ClientConnection]]:
    """Clients that do not read until they are told to. In the end they vanish."""
    made: list[ClientConnection] = []
    try:
        for _ in range(number):
            made.append(await client_of(server))
            made[-1].transport.pause_reading()
        yield made
    finally:
        for client in made:
            client.transport.abort()


async def until(condition, what: str, deadline: float = DEADLINE) -> None:
    async with asyncio.timeout(deadline):
        while not await condition():
            await asyncio.sleep(0.05)


async def slowest_echo(server: RunningServer, seconds: float) -> float:
    slowest, end = 0.0, time.monotonic() + seconds
    client = await client_of(server)
    async with client:
        while (start := time.monotonic()) < end:
            await client.send("echo hello")
            async with asyncio.timeout(DEADLINE):
                assert await client.recv() == "hello"
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.01)
    return slowest


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        ("stream a b c", ["a", "b", "c", "end", "after"]),
        ("own_loop x", ["x"]),
        ("thread x", ["x"]),
        ("back x", ["x", "x"]),
        ("close x", ["x"]),
    ],
)
async def test_send_is_called_on_the_event_loop_or_wherever(server, command, answers):
    """It arrives, in order, and the server serves others."""
    async with await client_of(server) as client, asyncio.timeout(DEADLINE):
        await client.send(command)
        assert [await client.recv() for _ in answers] == answers
        if command.startswith("close"):
            await client.wait_closed()
            assert client.close_code == 4001
    assert await slowest_echo(server, 0.1) < PROMPTLY


async def test_more_than_is_kept_for_a_client_is_refused_where_nobody_can_wait(server):
    """On the event loop's own thread, for one client; it is told what to write instead."""
    async with await client_of(server) as client, asyncio.timeout(DEADLINE):
        await client.send("flood")
        with pytest.raises(ConnectionClosed):
            while True:
                await client.recv()
        assert client.close_code == 1011
    assert "await sync_to_async(self.send)(...)" in server.output
    assert await slowest_echo(server, 0.1) < PROMPTLY


async def test_clients_that_do_not_read_occupy_no_thread(server):
    """Three times as many as there are threads: others are served as if they were not there."""
    async with clients(server, 3 * THREADS) as made:
        for client in made:
            await client.send(f"big {MUCH}")
        assert await slowest_echo(server, 2.0) < PROMPTLY
        for client in made:  # what was sent is not lost, and what comes next comes after it
            await client.send("echo next")
            client.transport.resume_reading()
        async with asyncio.timeout(DEADLINE):
            for client in made:
                assert len(await client.recv()) == MUCH
                assert await client.recv() == "next"


@pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel tells")
async def test_a_client_that_is_slow_but_reads_is_waited_for(server):
    """For several times its ``send_timeout``, and it gets everything.

    Another client is waited for already. To look whether that one reads makes the connections of
    Granian known that there are; this one comes later.
    """

    def read_slowly() -> None:
        client = SlowClient(server, "/impatient/")
        with client.socket:
            client.send(f"big {MUCH}")
            left, end = MUCH, time.monotonic() + 4 * 2.0
            while time.monotonic() < end:
                left -= len(client.read(2**14))
                time.sleep(0.25)  # which makes it 64 KiB a second
            while left > 0:
                left -= len(client.read(2**20))

    async with clients(server, 1) as [other]:
        await other.send(f"big {MUCH}")
        await slowest_echo(server, 1.0)  # there are two looks a second
        await asyncio.to_thread(read_slowly)
    assert "/impatient/: the client has not read" not in server.output


async def test_handlers_that_pour_step_aside_and_are_held_back(server, get):
    before = server.resident_bytes()
    async with clients(server, 2 * THREADS) as made:
        for client in made:
            # About four times as many as may be kept. More would only occupy the threads in
            # the tests that follow: a handler goes on when its client has vanished.
            await client.send(f"pour 30 {MUCH}")
        assert await slowest_echo(server, 2.0) < PROMPTLY
        # Of each there are the message that the server sends, and the one that waits; both may be
        # there as text and as a frame. Not thirty.
        assert server.resident_bytes() - before < len(made) * 8 * MUCH
        assert (await get("/readyz")).status_code == 200


async def test_too_many_handlers_that_wait_for_clients_are_not_waited_for(server, get):
    """Two for each thread are; then those that have not read for longest are let go of."""
    already = server.output.count("too many handlers of sync consumers")
    async with clients(server, 4 * THREADS) as made:
        for client in made:
            await client.send(f"pour 10 {MUCH}")

        async def let_go():
            return server.output.count("too many handlers of sync consumers") - already

        await until(let_go, "one is let go of")
        assert await slowest_echo(server, 1.0) < PROMPTLY
        assert (await get("/readyz")).status_code == 200
    assert "crashed" not in server.output[server.output.rfind("too many handlers") :]


async def test_a_pool_that_stays_full_is_told_and_what_has_left_is_forgotten(server, get):
    async def rests():
        state = (await get("/state")).json()
        return state["connected"] == state["disconnected"]

    await until(rests, "nobody is connected")
    at_rest = (await get("/state")).json()
    blocked = [await client_of(server) for _ in range(THREADS)]
    for client in blocked:
        await client.send("block")

    async def unready():
        return (await get("/readyz")).status_code == 503

    await until(unready, "the process is not ready")
    [check] = [
        check for name, check in (await get("/readyz")).json()["checks"].items() if not check["ok"]
    ]
    assert check["error"].startswith("no thread has been free for handlers of sync consumers for")
    assert "WARNING channels.consumer For " in server.output
    assert "Consumer at /ws/, websocket_receive for " in server.output

    if server.kind.can.notices_leaving_before_accept:
        late = [asyncio.create_task(client_of(server)) for _ in range(50)]

        async def waiting():
            return (await get("/state")).json()["made"] == at_rest["made"] + THREADS + len(late)

        await until(waiting, "all clients are there")
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

        async def forgotten():
            state = (await get("/state")).json()
            return state["tasks"] <= at_rest["tasks"] + 6 * THREADS

        await until(forgotten, "those that have left are forgotten")

    await get("/release")
    async with asyncio.timeout(DEADLINE):
        for client in blocked:
            assert await client.recv() == "released"
            await client.close()

    async def ready():
        return (await get("/readyz")).status_code == 200

    await until(ready, "the process is ready")
    await until(rests, "nobody is connected")
    state = (await get("/state")).json()
    assert state["connected"] == at_rest["connected"] + THREADS  # and nobody who had left
    assert "crashed" not in server.output.split("channels.consumer For ")[1]
