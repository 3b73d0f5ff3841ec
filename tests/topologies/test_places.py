"""What processes hold together, on a cluster and behind Sentinel, while other servers take over."""

import asyncio
import uuid

import pytest

from channels.exceptions import BrokerError
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.keys import base_of, holder_key, place_key

pytestmark = pytest.mark.server

# All processes together may hold so many of each; there are some in each partition.
MOST = 4
NAMES = [f"place.{number}" for number in range(40)]


class Processes:
    """Three processes that take places and give them back for as long as the block runs.

    Args:
        hosts: of their layers.
        owner_of: finds the server that has a key.
    """

    def __init__(self, hosts, owner_of):
        self.owner_of = owner_of
        kind = type("Layer", (RedisChannelLayer,), {"place_lease": 12.0})
        self.prefix = uuid.uuid4().hex
        self.layers = [kind(hosts, prefix=self.prefix) for _ in range(3)]
        self.taken = [0, 0, 0]
        self.held = []

    async def come_and_go(self, number):
        layer, mine = self.layers[number], []
        while not self.stop:
            first = self.taken[number] * (number + 3)
            names = {NAMES[(first + step * 11) % len(NAMES)] for step in range(3)}
            try:
                full = await layer.take_places(dict.fromkeys(names, MOST))
            except BrokerError:  # a call may be given up when a server takes over
                full = names
            if full is None:
                mine.append(names)
                self.taken[number] += 1
            if full is not None or len(mine) > 20:
                layer.give_places(mine.pop(0) if mine else ())
            await asyncio.sleep(0.002)
        self.held += mine

    async def __aenter__(self):
        self.stop = False
        self.tasks = [asyncio.ensure_future(self.come_and_go(number)) for number in range(3)]
        await self.until_more_are_taken()
        return self

    async def __aexit__(self, *exception):
        self.stop = True
        await asyncio.gather(*self.tasks)
        for layer in self.layers:
            await layer.aclose()

    async def until_more_are_taken(self):
        before = self.taken.copy()
        async with asyncio.timeout(30):
            while not all(now > then for now, then in zip(self.taken, before, strict=True)):
                await asyncio.sleep(0.01)

    async def expect_servers_to_know_what_is_held(self):
        self.stop = True
        await asyncio.gather(*self.tasks)
        async with asyncio.timeout(30):
            for name in NAMES:
                held = sum(name in names for names in self.held)
                while await asyncio.to_thread(self.known, name) != held:
                    await asyncio.sleep(0.05)

    def known(self, name):
        base = base_of(self.prefix, self.layers[0].consistent_hash(name))
        key = place_key(base, name)
        with self.owner_of(key).client() as client:
            return sum(
                int(number)
                for holder, number in client.hgetall(key).items()
                if client.exists(holder_key(base, holder.decode()))
            )


async def test_a_master_of_a_cluster_is_killed(cluster):
    async with Processes(cluster.hosts, cluster.owner_of) as processes:
        key = base_of(processes.prefix, 0)
        await asyncio.to_thread(cluster.owner_of(key).kill)
        await asyncio.to_thread(cluster.wait_until_taken_over, key)
        await processes.until_more_are_taken()
        await asyncio.to_thread(cluster.heal)
        await processes.expect_servers_to_know_what_is_held()


async def test_slots_of_a_cluster_move(cluster):
    async with Processes(cluster.hosts, cluster.owner_of) as processes:
        for number in range(4):
            await asyncio.to_thread(cluster.move, base_of(processes.prefix, number))
        await processes.until_more_are_taken()
        await processes.expect_servers_to_know_what_is_held()


async def test_a_replica_takes_over_that_lacks_the_last_calls(replicated):
    async with Processes(replicated.hosts, lambda key: replicated.master()) as processes:
        old = replicated.master()
        await asyncio.to_thread(replicated.cut_replication)
        await processes.until_more_are_taken()  # the old master alone knows of these
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(replicated.wait_until_failed_over, old)
        await processes.until_more_are_taken()
        await processes.expect_servers_to_know_what_is_held()
    await asyncio.to_thread(replicated.heal)
