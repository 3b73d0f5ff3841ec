"""A master with replicas and sentinels: failovers while messages flow."""

import asyncio
import uuid

import pytest

from channels.exceptions import ChannelsError
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.connection.commands import CommandConnection
from channels.layers.redis.connection.hosts import parse_hosts
from channels.testing.conformance import LayerConformance
from channels_redis.pubsub import RedisPubSubChannelLayer

from ..brokers import running as running_broker
from .harness import MASTER, info
from .traffic import Traffic

pytestmark = pytest.mark.server

# Seconds after which messages flow again, from the failover's end.
SOON = 5


class TestConformance(LayerConformance):
    keeps_named_channels = True
    # The laws are the same whatever the topology, and are tried more often in tests/conformance.
    law_examples = 15
    layer_class = RedisChannelLayer

    @pytest.fixture(autouse=True)
    def _topology(self, replicated):
        self.replicated = replicated

    def make_layer(self, **config):
        return self.layer_class(self.replicated.hosts, prefix=uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return self.layer_class(self.replicated.hosts, prefix=layer.prefix, **config)


@pytest.mark.slow
class TestPubSubConformance(TestConformance):
    layer_class = RedisPubSubChannelLayer


class TestFailover:
    @staticmethod
    def assert_told_once(traffic, failovers):
        assert failovers
        for channel in traffic.channels:
            assert 1 <= len(traffic.gaps[channel]) <= failovers

    async def test_the_master_is_killed(self, replicated):
        before = replicated.failovers()
        async with Traffic(replicated.hosts) as traffic:
            old = replicated.master()
            await asyncio.to_thread(old.kill)
            await asyncio.to_thread(replicated.wait_until_failed_over, old)
            await traffic.flows(within=SOON)
            # It comes back as a master, and is then made a replica of the new one.
            await asyncio.to_thread(replicated.heal)
            assert info(old)["role"] == "slave"
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_told_of_losses()
            self.assert_told_once(traffic, replicated.failovers() - before)

    @pytest.mark.slow
    async def test_pub_sub_goes_on_with_the_new_master(self, replicated):
        async with Traffic(replicated.hosts, RedisPubSubChannelLayer) as traffic:
            old = replicated.master()
            await asyncio.to_thread(old.kill)
            await asyncio.to_thread(replicated.wait_until_failed_over, old)
            await traffic.flows(within=SOON)
            await asyncio.to_thread(replicated.heal)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_told_of_losses()
            assert all(traffic.gaps[channel] for channel in traffic.channels)

    async def test_an_ordered_failover(self, replicated):
        async with Traffic(replicated.hosts) as traffic:
            old = replicated.master()
            await asyncio.to_thread(replicated.sentinels[0].cli, "SENTINEL", "FAILOVER", MASTER)
            await asyncio.to_thread(replicated.wait_until_failed_over, old)
            await traffic.flows(within=SOON)
            await asyncio.to_thread(replicated.heal)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_told_of_losses()

    async def test_who_missed_what_was_not_replicated_is_told_once(self, replicated):
        before = replicated.failovers()
        async with Traffic(replicated.hosts) as traffic:
            old = replicated.master()
            await asyncio.to_thread(replicated.cut_replication)
            await traffic.flows(within=SOON)  # these messages are on the old master only
            await asyncio.to_thread(old.kill)
            await asyncio.to_thread(replicated.wait_until_failed_over, old)
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_told_of_losses()
            self.assert_told_once(traffic, replicated.failovers() - before)
        await asyncio.to_thread(replicated.heal)


class TestSentinels:
    async def test_one_of_them_is_enough(self, replicated):
        for sentinel in replicated.sentinels[:2]:
            sentinel.kill()
        try:
            (server,), _ = parse_hosts(replicated.hosts, "x")
            connection = await server.connect()
            assert connection.port == replicated.master_by(replicated.sentinels[2]).port
            await connection.disconnect()
        finally:
            await asyncio.to_thread(replicated.heal)

    async def test_one_that_does_not_answer_costs_seconds_only_once(self, replicated):
        replicated.sentinels[0].pause()
        try:
            (server,), _ = parse_hosts(replicated.hosts, "x")
            connection = await server.connect()
            await connection.disconnect()
            async with asyncio.timeout(1):
                again = await server.connect()
            assert again.port == connection.port
            await again.disconnect()
        finally:
            await asyncio.to_thread(replicated.heal)

    async def test_one_that_was_cut_off_and_names_a_replica_is_not_believed(self, replicated):
        replica = next(node for node in replicated.nodes if info(node)["role"] == "slave")
        stale = replicated.sentinels[0]
        hosts = replicated.hosts
        stale.cli("SENTINEL", "REMOVE", MASTER)
        try:
            stale.cli("SENTINEL", "MONITOR", MASTER, "127.0.0.1", replica.port, 2)
            (server,), _ = parse_hosts(hosts, "x")
            connection = await server.connect()
            assert connection.port != replica.port
            await connection.disconnect()
        finally:
            stale.cli("SENTINEL", "REMOVE", MASTER)
            master = replicated.master_by(replicated.sentinels[1])
            stale.cli("SENTINEL", "MONITOR", MASTER, "127.0.0.1", master.port, 2)
            stale.cli("SENTINEL", "SET", MASTER, "down-after-milliseconds", 1000,
                      "failover-timeout", 4000)  # fmt: skip
            await asyncio.to_thread(replicated.heal)

    async def test_a_master_that_they_do_not_know_is_an_error_at_once(self, replicated):
        hosts = [{**replicated.hosts[0], "master_name": "nobody"}]
        layer = RedisChannelLayer(hosts)
        async with asyncio.timeout(5):
            with pytest.raises(ChannelsError, match=r"'nobody'.*compare master_name"):
                await layer.group_send("group", {"type": "t"})
            with pytest.raises(ChannelsError, match="'nobody'"):
                await layer.new_channel()
        await layer.aclose()


@pytest.mark.parametrize("version", ["valkey", "redis", "redis-6.2"])
async def test_a_master_that_becomes_a_replica_is_left(version):
    """Without a word: nobody has closed the connections."""
    with running_broker(version) as broker:
        (server,), (base,) = parse_hosts([broker.address], "x")
        connection = CommandConnection(server, f"{base}:sender:s")
        inbox = f"{base}:inbox:p"
        arguments = "cname", b"data", 100
        broker.cli("XADD", inbox, "*", "h", "")
        assert await connection.append("send", [inbox], *arguments) == 1
        broker.cli("REPLICAOF", "127.0.0.1", 1)
        sending = connection.append("send", [inbox], *arguments)
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        broker.cli("REPLICAOF", "NO", "ONE")
        assert await asyncio.wait_for(sending, 5) == 1
        assert broker.cli("XLEN", inbox) == 3
        await connection.aclose()
