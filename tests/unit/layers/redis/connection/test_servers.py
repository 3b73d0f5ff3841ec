"""How connections are made. What needs sentinels, clusters or TLS is in tests/topologies."""

import pytest
from redis import exceptions as redis_errors

from channels.layers.redis.connection import servers
from channels.layers.redis.connection.servers import (
    BrokerError,
    ClusterServer,
    Opener,
    SingleServer,
)

from .....brokers import running


class TestOpener:
    async def test_it_opens_where_it_is_told(self):
        with running() as broker:
            opener = Opener({"socket_connect_timeout": 1})
            connection = await opener.open(host="127.0.0.1", port=broker.port)
            assert connection.is_connected
            await connection.disconnect()
            assert await opener.ask(broker.address, "PING") == b"PONG"

    async def test_nobody_there_is_an_error_that_says_where(self):
        with pytest.raises(redis_errors.ConnectionError, match=r"127\.0\.0\.1:1"):
            await Opener({}).open(host="127.0.0.1", port=1)

    @pytest.mark.parametrize("options", [{"nonsense": 1}, {"socket_timeout": "soon"}])
    def test_what_redis_py_does_not_know_is_refused_at_once(self, options):
        with pytest.raises((TypeError, ValueError)):
            Opener(options)

    def test_certificates_are_read_once_for_many_connections(self, monkeypatch):
        opener = Opener({"ssl": True})
        first = opener.make(host="a").ssl_context
        assert opener.make(host="b").ssl_context is first
        monkeypatch.setattr(servers, "_TLS_FRESH", 0)
        opener = Opener({"ssl": True})
        assert opener.make(host="a").ssl_context is not opener.make(host="b").ssl_context


class TestClusterServer:
    @pytest.mark.parametrize(("host", "port"), [("", 7000), ("?", 7000)])
    async def test_a_move_without_a_host_is_looked_up(self, host, port):
        server = ClusterServer([("127.0.0.1", 1)], "{asgi:0}", {})
        server.moved(host, port)
        with pytest.raises(redis_errors.ConnectionError, match="No node of the cluster"):
            await server.connect()

    async def test_a_move_is_followed(self):
        with running() as broker:
            server = ClusterServer([("127.0.0.1", 1)], "{asgi:0}", {})
            server.moved(*broker.address)
            connection = await server.connect()
            assert connection.port == broker.port
            await connection.disconnect()

    async def test_a_move_to_where_nobody_is_is_looked_up(self):
        with running() as broker:
            server = ClusterServer([broker.address], "{asgi:0}", {})
            server.moved("127.0.0.1", 1)
            with pytest.raises(BrokerError, match="cluster support disabled"):
                await server.connect()

    async def test_one_cause_that_may_pass_makes_the_whole_worth_another_attempt(self):
        with running() as broker:
            server = ClusterServer([broker.address, ("127.0.0.1", 1)], "{asgi:0}", {})
            with pytest.raises(redis_errors.ConnectionError, match="cluster support disabled"):
                await server.connect()


async def test_a_single_server_stays_where_it_is():
    with running() as broker:
        server = SingleServer({"host": "127.0.0.1", "port": broker.port})
        server.moved("127.0.0.1", 1)
        connection = await server.connect()
        assert connection.port == broker.port
        await connection.disconnect()
