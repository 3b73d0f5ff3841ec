"""Background tasks on a cluster: what a queue consists of moves, and its owner is killed."""

import asyncio
import uuid

import pytest

from channels.contrib.tasks.compat import TaskResultStatus, task_backends
from channels.layers.redis.keys import consistent_hash
from tests.conformance.tasks import jobs
from tests.conformance.tasks.laws import TaskLaws, finished

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def layers(cluster):
    config = {
        "hosts": cluster.hosts,
        "prefix": uuid.uuid4().hex,
        "symmetric_encryption_keys": ["k"],
    }
    return {"default": {"BACKEND": "channels.layers.redis.RedisChannelLayer", "CONFIG": config}}


class TestTasksOnACluster(TaskLaws):
    """Every promise, on keys that are spread over three masters, and encrypted."""


class TestWhatMoves:
    use, fresh, working = TaskLaws.use, TaskLaws.fresh, TaskLaws.working

    @pytest.fixture
    def key(self, layers):
        """One with the hash tag of the partition that the queue is in."""
        prefix = layers["default"]["CONFIG"]["prefix"]
        return f"{{{prefix}:{consistent_hash('default', 8)}}}"

    async def enqueue_meanwhile(self, results, busy):
        while not busy.done():
            results.append(await jobs.aadd.aenqueue(1))
            await asyncio.sleep(0.01)

    async def expect_work_while(self, backend, function, *arguments):
        """Tasks are enqueued and run while ``function`` does something to the cluster."""
        results = []
        async with self.working():
            busy = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
            await self.enqueue_meanwhile(results, busy)
            await busy
            results.append(await jobs.aadd.aenqueue(1))
            async with asyncio.timeout(30):
                for result in results:
                    await finished(result)
        assert {result.status for result in results} == {TaskResultStatus.SUCCESSFUL}
        counts = await backend.store.counts("default")
        assert (counts.succeeded, counts.waiting, counts.running) == (len(results), 0, 0)

    async def test_nothing_is_lost_when_slots_move(self, use, cluster, key):
        await self.expect_work_while(use(), cluster.move, key)
        await task_backends["default"].store.aclose()

    async def test_nothing_is_lost_at_an_ordered_failover(self, use, cluster, key):
        replica = cluster.replica_of(cluster.owner_of(key))

        def fail_over():
            replica.cli("CLUSTER", "FAILOVER")
            cluster.wait_until_whole()

        await self.expect_work_while(use(), fail_over)
        await task_backends["default"].store.aclose()
