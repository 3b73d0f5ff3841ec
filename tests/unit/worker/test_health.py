import asyncio
import contextlib
import json
import os
import socket

import pytest

from channels.exceptions import InvalidWorkerOption
from channels.layers import InMemoryChannelLayer
from channels.worker import Worker, health

from ...asgi import until
from ...ports import free_port
from .working import DEADLINE, working


class Breakable(InMemoryChannelLayer):
    """A layer that fails when it is told to."""

    broken: object = None
    failing_listener = False

    async def send(self, channel, message):
        if self.broken == "hang":
            await asyncio.Event().wait()
        if isinstance(self.broken, Exception):
            raise self.broken
        if self.broken == "changes":
            message = {"type": "other"}
        await super().send(channel, message)

    async def receive(self, channel):
        if channel == "a" and self.failing_listener:
            raise OSError("gone")
        return await super().receive(channel)


class Quick(Worker):
    health_interval = 0.01
    backoff = (30.0, 60.0)


async def application(scope, receive, send):
    while True:
        await receive()


@pytest.fixture
def layer():
    return Breakable()


@pytest.fixture
def port():
    return free_port()


async def ask(port, request=b"GET /healthz HTTP/1.1\r\nHost: worker\r\n\r\n"):
    """The status and the body of the response."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    return int(head.split()[1]) if head else None, body


async def becomes(port, status):
    """Wait until the worker answers with this status; what it says."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(OSError):
                found, body = await ask(port)
                if found == status:
                    return json.loads(body)
            await asyncio.sleep(0.01)


async def test_a_worker_that_is_well_answers_so(layer, port):
    async with working(Quick(application, ["a"], layer, health_port=port)):
        told = await becomes(port, 200)
        assert told["status"] == "ok"
        assert told["checks"]["listeners"] == {"ok": True, "ms": 0.0, "error": None}
        assert told["checks"]["broker"]["ok"]
        assert await ask(port, b"HEAD /healthz/?probe HTTP/1.0\r\n\r\n") == (200, b"")
    with pytest.raises(ConnectionRefusedError):
        await ask(port)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"rubbish\r\n\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\n", None),
        (b"x" * 10_000, None),
    ],
)
async def test_other_requests(layer, port, request_, status, monkeypatch):
    monkeypatch.setattr(health, "_TIMEOUT", 0.2)
    async with working(Quick(application, ["a"], layer, health_port=port)):
        await becomes(port, 200)
        with contextlib.suppress(ConnectionResetError):
            assert (await ask(port, request_))[0] == status
        await becomes(port, 200)


async def test_strangers_cannot_hold_more_than_some_connections(layer, port):
    async with working(Quick(application, ["a"], layer, health_port=port)):
        await becomes(port, 200)
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(health._CLIENTS)]
        refused = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(1):
            assert await refused[0].read() == b""
        for _, writer in [*idle, refused]:
            writer.close()
        await becomes(port, 200)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (OSError("redis://:sesame@host"), "OSError"),
        ("hang", "no answer within 0.05 s"),
        ("changes", "the layer delivered another message than was sent"),
    ],
)
async def test_a_layer_that_does_not_carry_messages(layer, port, broken, told, caplog, monkeypatch):
    monkeypatch.setattr(health, "_TIMEOUT", 0.05)
    caplog.set_level("INFO", "channels.worker")
    async with working(Quick(application, ["a"], layer, health_port=port)):
        await becomes(port, 200)
        layer.broken = broken
        answer = await becomes(port, 503)
        alive = json.loads((await ask(port, b"GET /livez HTTP/1.1\r\n\r\n"))[1])
        assert alive["checks"]["process"]["pid"] == os.getpid()
        assert answer["status"] == "unavailable"
        assert answer["checks"]["broker"]["error"] == told
        layer.broken = None
        await becomes(port, 200)
    lines = [record.getMessage() for record in caplog.records]
    assert f"The worker is not well: broker: {told}" in lines
    assert lines.count("The worker is well again") == 1
    assert "sesame" not in caplog.text


async def test_a_listener_that_fails(layer, port, caplog):
    layer.failing_listener = True
    async with working(Quick(application, ["a", "b"], layer, health_port=port)):
        answer = await becomes(port, 503)
        assert answer["checks"]["listeners"]["error"] == "failing: a"


async def test_the_file_is_touched_while_all_is_well_and_removed_at_the_end(layer, tmp_path):
    path = tmp_path / "alive"

    async def is_touched():
        os.utime(path, (0, 0))
        await until(lambda: path.stat().st_mtime > 0)

    async with working(Quick(application, ["a"], layer, health_file=path)):
        await until(path.exists)
        assert path.read_text() == f"{os.getpid()}\n"
        await is_touched()
        layer.broken = OSError("gone")
        for _ in range(3):  # what was under way when it broke may still touch it
            os.utime(path, (0, 0))
            await asyncio.sleep(0.05)
        assert path.stat().st_mtime == 0
        layer.broken = None
        await is_touched()
    assert not path.exists()


async def test_the_file_is_touched_while_handlers_finish(layer, tmp_path):
    path, began, release = tmp_path / "alive", asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        began.set()
        await release.wait()

    worker = Quick(application, ["a"], layer, health_file=str(path))
    async with working(worker):
        await layer.send("a", {"type": "x"})
        await asyncio.wait_for(began.wait(), DEADLINE)
        worker.stop()
        await asyncio.sleep(0)
        os.utime(path, (0, 0))
        await until(lambda: path.stat().st_mtime > 0)
        release.set()


async def test_a_file_that_cannot_be_written(layer, tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "alive"):
        worker = Quick(application, ["a"], layer, health_file=path)
        with pytest.raises(InvalidWorkerOption, match=r"The health file .* cannot be written: "):
            await asyncio.wait_for(worker.handle(), DEADLINE)


async def test_a_file_that_can_be_written_no_longer(layer, tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    async with working(Quick(application, ["a"], layer, health_file=folder / "alive")):
        await until((folder / "alive").exists)
        (folder / "alive").unlink()
        folder.rmdir()
        await until(lambda: "cannot be touched" in caplog.text)


async def test_a_port_that_is_taken(layer, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = Quick(
            application, ["a"], layer, health_file=tmp_path / "alive", health_host="127.0.0.1",
            health_port=port,
        )  # fmt: skip
        with pytest.raises(InvalidWorkerOption, match=f"The health port {port} cannot be listened"):
            await asyncio.wait_for(worker.handle(), DEADLINE)
    assert not (tmp_path / "alive").exists()


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_none(layer, port):
    with pytest.raises(InvalidWorkerOption, match="health_port must be a number from 1 to 65535"):
        Worker(application, ["a"], layer, health_port=port)
