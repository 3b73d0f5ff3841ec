"""How connections are made. Failovers, whole clusters and TLS are in tests/topologies."""

import asyncio

import pytest
from redis import exceptions as redis_errors

from channels.exceptions import BrokerError
from channels.layers.redis.connection.opening import ask
from channels.layers.redis.connection.servers import (
    ClusterServer,
    SentinelServer,
    SingleServer,
    note_move,
)

from .....brokers import running
from .....ports import free_port
from .....topologies.harness import MASTER, Authority, Sentinel
from .cluster_node import FIRST_HALF, key_in


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


class TestSlots:
    @pytest.mark.parametrize("endpoint", ["ip", "hostname", "unknown-endpoint"])
    async def test_the_owner_is_found_however_the_cluster_names_its_nodes(
        self, cluster_node, endpoint
    ):
        cluster_node.cli("CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint)
        server = ClusterServer([cluster_node.address], key_in(FIRST_HALF), {})
        assert await server.find_owner() == cluster_node.address
        connection = await server.connect()
        assert connection.port == cluster_node.port
        await connection.disconnect()

    async def test_a_slot_without_an_owner_is_worth_another_attempt(self):
        with running("valkey", "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as n:
            server = ClusterServer([n.address], "a", {})
            with pytest.raises(redis_errors.ConnectionError, match="knows no owner"):
                await server.connect()

    async def test_a_server_that_has_lost_a_slot_says_where_to_go(self, cluster_node):
        with running() as other:
            server = ClusterServer([cluster_node.address], "a", {})
            moved = redis_errors.MovedError(f"1 127.0.0.1:{other.port}")
            assert note_move(server, moved) is moved
            connection = await server.connect()
            assert connection.port == other.port
            await connection.disconnect()


@pytest.fixture
def sentinel():
    """Makes a sentinel for a master."""
    made = []

    def make(master):
        made.append(Sentinel(master.binary, master))
        return made[-1].start()

    yield make
    for each in made:
        each.remove()


class TestSentinelServer:
    async def test_the_sentinel_that_knows_is_asked_first_the_next_time(self, sentinel):
        with running() as master:
            unknown, watching = ("127.0.0.1", free_port()), sentinel(master)
            server = SentinelServer([unknown, watching.address], MASTER, {}, {})
            for _ in range(2):
                connection = await server.connect()
                assert connection.port == master.port
                await connection.disconnect()

    async def test_two_that_connect_at_once_agree_on_the_sentinel_to_ask_first(self, sentinel):
        asked = []

        async def hang_up(reader, writer):
            asked.append(writer)
            writer.close()

        broken = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        with running() as master:
            async with broken:
                nodes = [broken.sockets[0].getsockname(), sentinel(master).address]
                server = SentinelServer(nodes, MASTER, {}, {})
                for connection in await asyncio.gather(server.connect(), server.connect()):
                    assert connection.port == master.port
                    await connection.disconnect()
                assert len(asked) == 2
                connection = await server.connect()
                await connection.disconnect()
                assert len(asked) == 2, "the one that knows was asked first"

    async def test_a_master_that_no_sentinel_knows_is_a_mistake_in_hosts(self, sentinel):
        with running() as master:
            server = SentinelServer([sentinel(master).address], "other", {}, {})
            with pytest.raises(BrokerError, match="compare master_name"):
                await server.connect()

    async def test_what_a_sentinel_names_must_be_a_master(self, sentinel):
        with running() as master:
            server = SentinelServer([sentinel(master).address], MASTER, {}, {})
            master.cli("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(redis_errors.ConnectionError, match="is not a master"):
                await server.connect()

    async def test_a_user_who_may_not_ask_for_the_role_is_connected(self, sentinel):
        with running() as master:
            master.cli("ACL", "SETUSER", "u", "on", ">p", "+@all", "~*", "-role")
            options = {"username": "u", "password": "p"}
            server = SentinelServer([sentinel(master).address], MASTER, {}, options)
            connection = await server.connect()
            assert connection.port == master.port
            await connection.disconnect()


async def test_tls_for_a_server_that_does_not_speak_it_says_so():
    with running() as broker:
        options = {"host": "127.0.0.1", "port": broker.port, "ssl": True}
        server = SingleServer({**options, "socket_connect_timeout": 0.2})
        with pytest.raises(redis_errors.TimeoutError, match="expect TLS"):
            await server.connect()


async def test_the_end_of_an_encrypted_connection_waits_for_no_answer(tmp_path):
    authority, port = Authority(tmp_path), free_port()
    with running("redis", "--tls-port", str(port), *authority.server_options) as broker:
        options = {"host": "127.0.0.1", "port": port, "ssl": True}
        server = SingleServer({**options, "ssl_ca_certs": str(authority.ca)})
        connection = await server.connect()
        assert await ask(connection, "PING") == b"PONG"
        broker.pause()
        async with asyncio.timeout(5):
            await connection.disconnect()
        assert not connection.is_connected
        await connection.disconnect()
