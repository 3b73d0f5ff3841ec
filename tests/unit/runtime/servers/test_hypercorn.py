"""Hypercorn, as far as it goes without it; the real one is in tests/conformance/servers."""

import asyncio
import contextlib
import multiprocessing
import sys
import types

import pytest

from channels._runtime.servers import hypercorn as module
from channels._runtime.servers import watch_shutdown
from channels._runtime.servers.hypercorn import Hypercorn, WorkerShutdown
from tests.asgi import until
from tests.unit.runtime.servers import standins

SOURCE = """
async def raise_shutdown(told):
    await told.wait()
    raise SystemError

async def worker_serve(told):
    await told.wait()
"""


async def test_a_connection_is_aborted_at_its_transport():
    client = standins.Hypercorn()
    server = Hypercorn.of(client.protocol, client.scope, client.send, client.receive)
    assert server.abort()
    assert client.transport.aborted == 1
    assert not server.close_waits_for_receive
    assert not server.begin()


async def test_nothing_is_inflated_and_what_comes_after_too_much_is_not_kept():
    client = standins.Hypercorn()
    kept = client.protocol.buffer
    assert not Hypercorn.of(client.protocol, client.scope, client.send, client.receive).begin()
    assert client.protocol.handshake.extensions is None
    buffer = client.protocol.buffer
    buffer.extend(b"12345")
    assert buffer.to_message() == b"12345"
    buffer.clear()
    for _ in range(3):
        with pytest.raises(OverflowError):
            buffer.extend(b"12345678901")
        assert kept.value == b""
    with pytest.raises(OverflowError):
        buffer.extend(b"1")


@pytest.mark.parametrize("taken_for", ["http", "websocket"])
async def test_a_request_is_left_alone(taken_for):
    client = standins.Hypercorn(scope_type="http")
    del client.protocol.buffer, client.protocol.handshake
    scope = {**client.scope, "type": taken_for}
    assert not Hypercorn.of(client.protocol, scope, client.send, client.receive).begin()


async def test_the_object_of_another_client_is_none_of_this_connections():
    client, other = standins.Hypercorn(), standins.Hypercorn()
    assert Hypercorn.of(other.protocol, client.scope, client.send, client.receive) is None


@pytest.mark.parametrize("version", ["2", "2.0", "3", 2])
async def test_a_connection_that_requests_share_is_not_aborted(version):
    client = standins.Hypercorn(http_version=version)
    del client.tcp.writer  # nobody looks for it
    server = Hypercorn.of(client.protocol, client.scope, client.send, client.receive)
    assert not server.abort()
    assert client.transport.aborted == 0


# Its workers' shutdown


@pytest.fixture
def hypercorn(monkeypatch):
    """A module of Hypercorn's, as if it had been imported."""
    found = types.ModuleType("hypercorn.utils")
    exec(SOURCE, vars(found))
    monkeypatch.setitem(module.__dict__, "_POLLED", 0.01)
    monkeypatch.setitem(sys.modules, "hypercorn", found)
    return found


@contextlib.asynccontextmanager
async def running(function):
    """A task that runs ``function(told)``, and what tells it."""
    told = asyncio.Event()
    task = asyncio.create_task(function(told))
    await asyncio.sleep(0)
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()


async def test_the_end_of_the_task_that_waits_is_the_beginning(hypercorn, monkeypatch):
    begun = []
    async with running(hypercorn.raise_shutdown) as told:
        shutdown = watch_shutdown(asyncio.get_running_loop(), lambda: begun.append(True))
        assert not shutdown.by_signal
        assert not shutdown.begun
        assert not shutdown.is_by_parent()
        told.set()
        await until(lambda: begun)
        assert shutdown.begun
        assert not shutdown.is_by_parent()  # this process has none
        monkeypatch.setattr(multiprocessing, "parent_process", object)
        assert shutdown.is_by_parent()
        await shutdown.settle()


def test_nothing_begins_on_an_event_loop_that_is_closed():
    class Loop:
        def is_closed(self):
            return True

    class Task:
        def add_done_callback(self, callback):
            self.callback = callback

        def get_loop(self):
            return Loop()

    task, begun = Task(), []
    shutdown = WorkerShutdown([task], lambda: begun.append(True))
    task.callback(task)
    assert shutdown.begun
    assert begun == []


@pytest.mark.usefixtures("hypercorn")
async def test_tasks_of_others_are_not_watched(caplog):
    async def raise_shutdown(told):
        await told.wait()

    async with running(raise_shutdown):
        assert watch_shutdown(asyncio.get_running_loop(), lambda: None).by_signal
    assert caplog.records == []


async def test_a_worker_without_such_a_task_is_told_of_once(hypercorn, caplog):
    async with running(hypercorn.worker_serve):
        for _ in range(3):
            assert watch_shutdown(asyncio.get_running_loop(), lambda: None).by_signal
    [record] = caplog.records
    assert record.name == "channels.servers"
    assert "no task of its waits for the shutdown" in record.getMessage()


async def test_no_task_is_looked_for_without_hypercorn(hypercorn, monkeypatch):
    monkeypatch.delitem(sys.modules, "hypercorn")
    async with running(hypercorn.raise_shutdown):
        assert watch_shutdown(asyncio.get_running_loop(), lambda: None).by_signal
