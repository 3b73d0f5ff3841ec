"""Which connections are open, and that all have ended."""

import asyncio
import threading

import pytest

from channels._runtime import connections as module
from channels._runtime.connections import Connections, connections
from channels.generic.websocket import AsyncWebsocketConsumer
from tests.asgi import DEADLINE, Server, until

pytestmark = pytest.mark.usefixtures("layer")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.005)


async def test_no_timer_is_left_when_the_last_connection_has_ended():
    here = connections.get()
    assert here.timer is None
    servers = [await Server(AsyncWebsocketConsumer.as_asgi()).connect() for _ in range(2)]
    assert len(here.open) == 2
    timer = here.timer
    assert timer is not None
    await until(lambda: here.timer is not timer)  # it goes on as long as one is there
    for server in servers:
        await server.leave()
    assert here.open == set()
    await until(lambda: here.timer is None)
    assert not here.pending_sends
    again = await Server(AsyncWebsocketConsumer.as_asgi()).connect()
    assert here.timer is not None
    await again.leave()


async def test_a_connection_that_no_server_made_is_not_counted():
    server = Server(AsyncWebsocketConsumer.as_asgi())
    del server.scope["asgi"]
    await server.connect()
    assert connections.get().open == set()
    await server.leave()
    assert connections.get().timer is None


class Nobody:
    def drain(self):
        return None


async def test_ended_at_once_where_none_is_open():
    assert await Connections().ended(0)
    assert await Connections().ended(DEADLINE)


async def test_all_callers_of_ended_wait_for_the_last_connection():
    here, first, second = Connections(), Nobody(), Nobody()
    here.add(first)
    here.add(second)
    waiting = [asyncio.create_task(here.ended(DEADLINE)) for _ in range(2)]
    await asyncio.sleep(0)
    here.discard(first)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    here.discard(second)
    assert await asyncio.gather(*waiting) == [True, True]
    here.add(first)
    assert not await here.ended(0)


async def test_ended_gives_up_in_time():
    here, lasting = Connections(), Nobody()
    here.add(lasting)
    assert not await here.ended(0)
    assert not await here.ended(0.01)
    late = asyncio.create_task(here.ended(DEADLINE))
    await asyncio.sleep(0)
    here.discard(lasting)
    assert await late


async def test_all_have_ended_even_if_one_begins_at_once():
    here, lasting, next_one = Connections(), Nobody(), Nobody()
    here.add(lasting)
    waiting = asyncio.create_task(here.ended(DEADLINE))
    await asyncio.sleep(0)
    here.discard(lasting)
    here.add(next_one)
    assert await waiting


async def test_a_cancelled_wait_disturbs_no_other():
    here, lasting = Connections(), Nobody()
    here.add(lasting)
    first, second = (asyncio.create_task(here.ended(DEADLINE)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    here.discard(lasting)
    assert await second


async def test_discarding_one_that_was_never_added_changes_nothing():
    here, lasting = Connections(), Nobody()
    here.add(lasting)
    here.discard(Nobody())
    assert here.open == {lasting}


def test_every_event_loop_has_its_own():
    found = []

    async def find():
        found.append(connections.get())
        assert connections.get() is found[-1]

    threads = [threading.Thread(target=asyncio.run, args=(find(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert found[0] is not found[1]


async def test_each_connection_that_is_the_only_one_is_told_as_the_first(monkeypatch):
    told = []
    monkeypatch.setattr("channels._runtime.connections.when_first", [lambda: told.append("first")])
    here, one, other = Connections(), object(), object()
    for connection, count in ((one, 1), (other, 1)):
        here.add(connection)
        assert len(told) == count
    for connection in (one, other):
        here.discard(connection)
    here.add(one)  # before anything has looked whether there is any
    assert len(told) == 2
    here.discard(one)
    here.timer.cancel()
