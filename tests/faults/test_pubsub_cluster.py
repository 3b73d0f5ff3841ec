"""Servers that die, change their roles, and hand slots over while messages flow."""

import asyncio

import pytest

from channels.layers.redis.pubsub.requests import PLAIN, SHARDED

from ..asgi import until
from ..topologies.harness import Cluster, info, replicated, running
from .harness import Room, check_told, pubsub, sending, settle

__all__ = ["replicated"]  # a fixture

pytestmark = [pubsub, pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster():
    with running(Cluster()) as cluster:
        yield cluster


@pytest.fixture
def make(layers, cluster, request):
    return lambda **options: layers(*cluster.hosts, prefix=request.node.name, **options)


def key_of(layer, group="room"):
    """A key in the slot of the group."""
    return f"{{{layer.prefix}:{layer.consistent_hash(group)}}}"


async def resume(senders):
    """Messages flow again within seconds."""
    async with asyncio.timeout(5):
        for sender in senders:
            await sender.reaches(20)


async def test_a_cluster_that_can_is_sharded(make, cluster):
    layer, plain = make(), make(sharded=False)
    for each, kind in ((layer, SHARDED), (plain, PLAIN)):
        channel = await each.new_channel()
        assert each.transport.commands is kind
        await each.group_add("room", channel)
        await each.group_send("room", {"type": "news"})
        assert await asyncio.wait_for(each.receive(channel), 5) == {"type": "news"}


@pytest.mark.parametrize("sharded", [True, False])
async def test_a_master_is_killed(make, cluster, sharded):
    here, there = make(sharded=sharded), make(sharded=sharded)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        await asyncio.to_thread(cluster.owner_of(key_of(here)).kill)
        await asyncio.to_thread(cluster.wait_until_taken_over, key_of(here))
        await until(lambda: min(room.gaps()) == 1)
        await resume(senders)
        await asyncio.to_thread(cluster.heal)
        await settle(room, senders)
        check_told(room, senders, gaps=None)


@pytest.mark.parametrize("sharded", [True, False])
async def test_an_ordered_failover(make, cluster, sharded):
    here, there = make(sharded=sharded), make(sharded=sharded)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        old = cluster.owner_of(key_of(here))
        await asyncio.to_thread(cluster.replica_of(old).cli, "CLUSTER", "FAILOVER")
        await until(lambda: info(old)["role"] == "slave", 20)
        await asyncio.to_thread(cluster.wait_until_whole)
        await resume(senders)
        await settle(room, senders)
        check_told(room, senders, gaps=None)


@pytest.mark.parametrize("sharded", [True, False])
async def test_a_slot_moves(make, cluster, sharded):
    here, there = make(sharded=sharded), make(sharded=sharded)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        await asyncio.to_thread(cluster.move, key_of(here))
        await resume(senders)
        await settle(room, senders)
        check_told(room, senders, gaps=None)
        if sharded:
            assert max(room.gaps()) == 1, "the server ends subscriptions to what it hands over"


async def test_a_master_that_sentinels_watch_is_killed(layers, replicated):
    here, there = (layers(*replicated.hosts) for _ in range(2))
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        old = replicated.master()
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(replicated.wait_until_failed_over, old)
        await until(lambda: room.gaps() == [1, 1, 1])
        await resume(senders)
        await settle(room, senders)
        check_told(room, senders)
