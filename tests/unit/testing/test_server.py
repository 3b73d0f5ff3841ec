"""The server of live tests: what it does with handlers that do not end by themselves."""

import asyncio
import socket

from channels.testing import server
from channels.testing.server import Server


async def test_a_handler_that_does_not_end_is_cancelled_and_has_time_to_clean_up(monkeypatch):
    ready, begun = asyncio.Event(), asyncio.Event()
    seen = []

    async def stubborn(scope, receive, send):
        if scope["type"] != "http":
            return
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")

    serving = Server(stubborn, ready.set)
    monkeypatch.setattr(server, "GRACE", 0.01)
    monkeypatch.setattr(server, "_PATIENCE", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(serving.serve(sockets=[listener]))
        async with asyncio.timeout(30):
            await ready.wait()
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await begun.wait()
            await serving.hang_up()
            assert seen == ["cancelled", "cleaned up"]
            assert not serving.server_state.tasks
            assert not running.done()
            writer.close()
            serving.should_exit = True
            await running
