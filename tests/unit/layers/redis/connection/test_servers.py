"""How connections are made. What needs sentinels, clusters or TLS is in tests/topologies."""

import pytest
from redis import exceptions as redis_errors

from channels.exceptions import BrokerError
from channels.layers.redis.connection.servers import ClusterServer, SingleServer, note_move

from .....brokers import running


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


async def test_a_node_of_a_cluster_that_hosts_do_not_call_one_is_told_how_to_write_it():
    server = SingleServer({"host": "h", "port": 1})
    told = note_move(server, redis_errors.MovedError("1 127.0.0.1:7000"))
    assert isinstance(told, BrokerError)
    assert "Redis at h:1 is a node of a Redis Cluster" in str(told)
    assert '{"cluster": ' in str(told)
