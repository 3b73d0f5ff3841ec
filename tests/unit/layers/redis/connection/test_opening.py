"""How one connection is opened. What needs TLS is in tests/topologies."""

import asyncio

import pytest
from redis import exceptions as redis_errors

from channels.layers.redis.connection import opening
from channels.layers.redis.connection.opening import Opener

from .....brokers import running


class TestOpener:
    async def test_a_connection_is_opened_to_the_address_that_is_given(self):
        with running() as broker:
            opener = Opener({"socket_connect_timeout": 1})
            connection = await opener.open(host="127.0.0.1", port=broker.port)
            assert connection.is_connected
            await connection.disconnect()
            assert await opener.ask(broker.address, "PING") == b"PONG"

    async def test_an_error_says_the_address_where_no_server_is(self):
        with pytest.raises(redis_errors.ConnectionError, match=r"127\.0\.0\.1:1"):
            await Opener({}).open(host="127.0.0.1", port=1)

    async def test_a_server_that_never_answers_is_left_when_the_caller_gives_up(self):
        accepted, left = asyncio.Event(), asyncio.Event()

        async def never_answer(reader, writer):
            accepted.set()
            await reader.read()  # until the client closes
            left.set()
            writer.close()

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            opening = asyncio.create_task(Opener({}).open(host="127.0.0.1", port=port))
            await asyncio.wait_for(accepted.wait(), 10)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await asyncio.wait_for(left.wait(), 10)

    @pytest.mark.parametrize("options", [{"nonsense": 1}, {"socket_timeout": "soon"}])
    def test_what_redis_py_does_not_know_is_refused_at_once(self, options):
        with pytest.raises((TypeError, ValueError)):
            Opener(options)

    def test_certificates_are_read_once_for_many_connections(self, monkeypatch):
        opener = Opener({"ssl": True})
        first = opener.make(host="a").ssl_context
        assert opener.make(host="b").ssl_context is first
        monkeypatch.setattr(opening, "_TLS_FRESH", 0)
        opener = Opener({"ssl": True})
        assert opener.make(host="a").ssl_context is not opener.make(host="b").ssl_context
