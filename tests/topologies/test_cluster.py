"""A cluster of three masters: failovers and moving slots while messages flow."""

import asyncio
import contextlib
import uuid

import pytest
from redis import exceptions as redis_errors

from channels.exceptions import ChannelsError
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.connection.hosts import parse_hosts
from channels.testing.conformance import LayerConformance

from ..brokers import running as running_broker
from .harness import Cluster, info, running
from .traffic import Traffic

pytestmark = pytest.mark.server

# Seconds after which messages flow again, once the cluster has another owner of the slots.
SOON = 5


class TestConformance(LayerConformance):
    keeps_named_channels = True
    # The laws are the same whatever the topology, and are tried more often in tests/conformance.
    law_examples = 15

    @pytest.fixture(autouse=True)
    def _topology(self, cluster):
        self.cluster = cluster

    def make_layer(self, **config):
        return RedisChannelLayer(self.cluster.hosts, prefix=uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return RedisChannelLayer(self.cluster.hosts, prefix=layer.prefix, **config)


def keys_of(prefix):
    """One key of each partition."""
    return [f"{{{prefix}:{number}}}" for number in range(8)]


class TestFailover:
    async def test_a_master_is_killed(self, cluster):
        async with Traffic(cluster.hosts) as traffic:
            victim = cluster.owner_of(keys_of(traffic.prefix)[0])
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(cluster.wait_until_taken_over, keys_of(traffic.prefix)[0])
            await traffic.flows(within=SOON)
            # It comes back, and learns that it is a replica now.
            await asyncio.to_thread(cluster.heal)
            assert info(victim)["role"] == "slave"
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_told_of_losses()

    async def test_an_ordered_failover_loses_nothing(self, cluster):
        async with Traffic(cluster.hosts) as traffic:
            old = cluster.owner_of(keys_of(traffic.prefix)[0])
            replica = cluster.replica_of(old)
            await asyncio.to_thread(replica.cli, "CLUSTER", "FAILOVER")
            await asyncio.to_thread(cluster.wait_until_whole)
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            assert not any(traffic.lost().values())


class TestMovingSlots:
    async def test_nothing_is_lost(self, cluster):
        """The slots of all partitions, one after the other and key by key."""
        async with Traffic(cluster.hosts) as traffic:
            loop = asyncio.get_running_loop()
            for key in keys_of(traffic.prefix):

                def let_messages_flow():
                    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), loop).result()

                await asyncio.to_thread(cluster.move, key, let_messages_flow)
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_nothing_lost()

    async def test_nothing_is_lost_when_the_nodes_do_it_at_once(self, cluster):
        async with Traffic(cluster.hosts) as traffic:
            for key in keys_of(traffic.prefix)[:4]:
                await asyncio.to_thread(cluster.move_at_once, key)
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_nothing_lost()

    async def test_nothing_is_lost_when_many_send_at_once(self, cluster):
        """Commands of one pipeline get different answers: some keys have moved, some have not."""
        prefix = uuid.uuid4().hex
        options = {"prefix": prefix, "capacity": 1_000_000, "inbox_capacity": 1_000_000}
        sender = RedisChannelLayer(cluster.hosts, **options)
        receivers = [RedisChannelLayer(cluster.hosts, **options) for _ in range(6)]
        key = keys_of(prefix)[0]
        names = [
            name for name in (f"group-{n}" for n in range(200)) if sender.consistent_hash(name) == 0
        ][:4]
        channels = [await receiver.new_channel() for receiver in receivers]
        for receiver, channel in zip(receivers, channels, strict=True):
            for name in names:
                await receiver.group_add(name, channel)
        sent, stop = dict.fromkeys(names, 0), False

        async def send_forever(name):
            while not stop:
                batch = [
                    sender.group_send(name, {"type": "n", "name": name, "n": sent[name] + more})
                    for more in range(20)
                ]
                sent[name] += 20
                await asyncio.gather(*batch)

        senders = [asyncio.create_task(send_forever(name)) for name in names]
        loop = asyncio.get_running_loop()

        def let_messages_flow():
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), loop).result()

        for _ in range(3):
            await asyncio.to_thread(cluster.move, key, let_messages_flow)
        stop = True
        await asyncio.wait_for(asyncio.gather(*senders), 60)
        for receiver, channel in zip(receivers, channels, strict=True):
            got = {name: [] for name in names}
            with contextlib.suppress(TimeoutError):  # what is missing is shown below
                async with asyncio.timeout(30):
                    while sum(map(len, got.values())) < sum(sent.values()):
                        message = await receiver.receive(channel)
                        got[message["name"]].append(message["n"])
            assert not receiver.statistics.dropped
            assert got == {name: list(range(sent[name])) for name in names}
        for layer in (sender, *receivers):
            await layer.aclose()

    async def test_queues_move_too(self, cluster):
        prefix = uuid.uuid4().hex
        options = {"prefix": prefix, "capacity": 10_000}
        sender, *workers = [RedisChannelLayer(cluster.hosts, **options) for _ in range(3)]
        received = []

        async def work(layer):
            while True:
                received.append((await layer.receive("work"))["n"])

        tasks = [asyncio.create_task(work(layer)) for layer in workers]
        key = keys_of(prefix)[sender.consistent_hash("work")]
        moving = asyncio.create_task(asyncio.to_thread(cluster.move, key))
        count = 0
        while not moving.done() or count < 200:
            await sender.send("work", {"type": "t", "n": count})
            count += 1
        await moving
        async with asyncio.timeout(10):
            while len(received) < count:
                await asyncio.sleep(0.01)
        assert sorted(received) == list(range(count))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for layer in (sender, *workers):
            await layer.aclose()


class TestNodes:
    async def test_one_that_answers_is_enough(self, cluster):
        """All others that the settings name are gone; the cluster says where its nodes are now."""
        gone = [("127.0.0.1", 1), ("127.0.0.1", 2)]
        hosts = [{"cluster": [*gone, cluster.nodes[0].address]}]
        servers, bases = parse_hosts(hosts, "x")
        for server, base in zip(servers, bases, strict=True):
            connection = await server.connect()
            assert connection.port == cluster.owner_of(base).port
            await connection.disconnect()

    async def test_the_list_of_nodes_is_kept_up_to_date(self, cluster):
        (server,), (base,) = parse_hosts(
            [{"cluster": [cluster.nodes[0].address], "partitions": 1}], "x"
        )
        await (await server.connect()).disconnect()
        first = cluster.nodes[0]
        await asyncio.to_thread(first.kill)
        try:
            await asyncio.to_thread(cluster.wait_until_taken_over, base)
            async with asyncio.timeout(5):
                connection = await server.connect()
            assert connection.port == cluster.owner_of(base).port
            await connection.disconnect()
        finally:
            await asyncio.to_thread(cluster.heal)

    async def test_none_that_answers_is_an_error_that_names_them(self):
        servers, _ = parse_hosts([{"cluster": [("127.0.0.1", 1)]}], "x")
        with pytest.raises(
            redis_errors.ConnectionError, match=r"No node .* leads to slot .*127\.0\.0\.1:1"
        ):
            await servers[0].connect()

    async def test_a_server_that_is_no_cluster_is_an_error_at_once(self):
        with running_broker() as broker:
            layer = RedisChannelLayer([{"cluster": [broker.address]}])
            async with asyncio.timeout(5):
                with pytest.raises(ChannelsError, match="cluster support disabled"):
                    await layer.group_send("group", {"type": "t"})
                with pytest.raises(ChannelsError, match="cluster support disabled"):
                    await layer.new_channel()
            await layer.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "hostname"),
    [("hostname", "localhost"), ("hostname", ""), ("unknown-endpoint", "")],
)
async def test_nodes_that_announce_themselves_otherwise(endpoint, hostname):
    options = ["--cluster-preferred-endpoint-type", endpoint]
    if hostname:
        options += ["--cluster-announce-hostname", hostname]
    with running(Cluster(*options, replicas=False)) as cluster:
        async with Traffic(cluster.hosts) as traffic:
            key = keys_of(traffic.prefix)[0]
            await asyncio.to_thread(cluster.move, key)
            await traffic.flows(within=SOON)
            await traffic.settle()
            traffic.assert_in_order_and_once()
            traffic.assert_nothing_lost()
