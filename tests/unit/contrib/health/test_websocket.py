import asyncio

import pytest

from channels.contrib.health import WebSocketProbe
from channels.exceptions import ScopeError
from channels.testing import WebsocketCommunicator
from tests.asgi import DEADLINE, Server, until


async def test_ping():
    client = WebsocketCommunicator(WebSocketProbe(), "/ws/health/")
    assert await client.connect() == (True, None)
    await client.send_to(text_data="ping")
    assert await client.receive_from() == "pong"
    assert await client.receive_output() == {"type": "websocket.close", "code": 1000}
    await client.wait()


async def test_one_message_and_no_more():
    server = await Server(WebSocketProbe()).connect()
    for _ in range(3):
        server.text("ping")
    await server.ended()
    assert server.texts() == ["pong"]
    assert server.types()[-1] == "websocket.close"
    assert server.received == 2  # with websocket.connect


@pytest.mark.parametrize("event", [{"text": "pong"}, {"bytes": b"ping"}, {"text": ""}, {}])
async def test_anything_else_is_closed(event):
    server = await Server(WebSocketProbe()).connect()
    server.put("websocket.receive", **event)
    await server.ended()
    assert server.sent[1:] == [{"type": "websocket.close", "code": 4400}]


async def test_silence_is_closed():
    server = await Server(WebSocketProbe(lifetime=0.05)).connect()
    await server.ended()
    assert server.sent[1:] == [{"type": "websocket.close", "code": 4408}]


async def test_a_client_that_leaves():
    server = await Server(WebSocketProbe()).connect()
    await server.leave()
    assert server.types() == ["websocket.accept"]


async def test_a_client_that_has_gone_is_no_error():
    async def gone(message):
        if message["type"] == "websocket.send":
            raise ConnectionResetError

    server = await Server(WebSocketProbe()).connect()
    server.on_send = gone
    server.text("ping")
    await server.ended()
    assert server.types() == ["websocket.accept"]


async def test_who_has_been_there_longest_makes_room():
    probe = WebSocketProbe(limit=2)
    first, second, third = [await Server(probe).connect() for _ in range(3)]
    await first.ended()
    assert first.sent[1:] == [{"type": "websocket.close", "code": 4408}]
    for server in (second, third):
        server.text("ping")
        await server.ended()
        assert server.texts() == ["pong"]


async def test_a_probe_gets_through_a_crowd_that_does_not_leave():
    async def stuck(message):
        if message["type"] == "websocket.close":
            await asyncio.Event().wait()

    probe = WebSocketProbe(limit=3, lifetime=1)
    crowd = []
    for _ in range(20):
        server = await Server(probe).connect()
        server.on_send = stuck
        crowd.append(server)
    ours = await Server(probe).connect()
    ours.text("ping")
    await ours.ended()
    assert ours.texts() == ["pong"]
    for server in crowd:
        await server.ended()


async def test_a_client_whose_time_is_up_but_that_is_still_ending_makes_room():
    async def ends_when_told():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ending.set()
            await go_on.wait()
            raise

    ending, go_on = asyncio.Event(), asyncio.Event()
    probe = WebSocketProbe(limit=1, lifetime=0)
    first, second = Server(probe), Server(probe)
    first.receive = ends_when_told
    first.start()
    async with asyncio.timeout(DEADLINE):
        await ending.wait()
    second.put("websocket.connect")
    second.text("ping")
    await second.start().ended()  # without waiting for anything, so its time does not run out
    assert second.texts() == ["pong"]
    go_on.set()
    await first.ended()
    assert first.sent == [{"type": "websocket.close", "code": 4408}]


async def test_a_cancelled_one_takes_no_place():
    probe = WebSocketProbe(limit=1)
    server = await Server(probe).connect()
    server.task.cancel()
    await until(server.task.done)
    other = await Server(probe).connect()
    other.text("ping")
    await other.ended()
    assert other.texts() == ["pong"]


async def test_it_serves_websockets_only():
    with pytest.raises(ScopeError):
        await WebSocketProbe()({"type": "http"}, None, None)
