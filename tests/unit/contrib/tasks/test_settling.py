"""Outcomes get to the store together, and again until they are there."""

import asyncio

import pytest

from channels.contrib.tasks.memory import MemoryStore
from channels.contrib.tasks.options import TaskOptions
from channels.contrib.tasks.records import Outcome, Record, now
from channels.contrib.tasks.settling import Settlements
from channels.exceptions import BrokerUnavailable
from tests.asgi import until


class Store(MemoryStore):
    """Fails as often as it is told to, and notes how much came together."""

    def __init__(self):
        super().__init__(TaskOptions())
        self.failures = 0
        self.batches = []
        self.release = asyncio.Event()
        self.release.set()

    async def settle(self, worker, outcomes):
        self.batches.append(len(outcomes))
        await asyncio.sleep(0)
        await self.release.wait()
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("it is not there")
        return await super().settle(worker, outcomes)


@pytest.fixture
async def store():
    return Store()


async def outcomes(store, count):
    for number in range(count):
        store.put(Record(str(number), "default", 0, b"", now()))
    taken = await store.fetch("w", ["default"], count)
    return [Outcome(task, "done", now(), value=b"value") for task in taken]


async def test_what_comes_together_goes_together(store):
    settlements = Settlements(store, "w")
    settled = await asyncio.gather(*map(settlements.settle, await outcomes(store, 300)))
    assert settled == [True] * 300
    assert store.batches == [200, 100]
    assert store.find("299").value == b"value"


async def test_what_comes_meanwhile_goes_next(store):
    settlements = Settlements(store, "w")
    first, second = await outcomes(store, 2)
    store.release.clear()
    settling = asyncio.create_task(settlements.settle(first))
    await until(lambda: store.batches)
    meanwhile = asyncio.create_task(settlements.settle(second))
    await asyncio.sleep(0)
    store.release.set()
    assert await settling
    assert await meanwhile
    assert store.batches == [1, 1]


async def test_what_does_not_count_is_told(store):
    settlements = Settlements(store, "another")
    assert [await settlements.settle(outcome) for outcome in await outcomes(store, 1)] == [False]


async def test_a_broker_that_fails_is_asked_again(store, caplog):
    settlements = Settlements(store, "w")
    store.failures = 2
    (outcome,) = await outcomes(store, 1)
    assert await settlements.settle(outcome)
    assert (
        "1 results of tasks are not stored yet (BrokerUnavailable: it is not there)" in caplog.text
    )
    assert store.batches == [1, 1, 1]


async def test_a_caller_that_gives_up_disturbs_no_other(store, monkeypatch):
    monkeypatch.setattr("channels.contrib.tasks.settling.backoff", lambda failures: 0.2)
    settlements = Settlements(store, "w")
    store.failures = 1
    first, second = await outcomes(store, 2)
    giving_up = asyncio.create_task(settlements.settle(first))
    staying = asyncio.create_task(settlements.settle(second))
    await until(lambda: store.batches == [2])
    giving_up.cancel()
    assert await staying
    assert store.batches == [2, 1]


async def test_one_may_give_up_while_the_outcome_is_stored(store):
    settlements = Settlements(store, "w")
    (outcome,) = await outcomes(store, 1)
    store.release.clear()
    giving_up = asyncio.create_task(settlements.settle(outcome))
    await until(lambda: store.batches)
    giving_up.cancel()
    await until(giving_up.done)
    store.release.set()
    await until(lambda: store.find("0").status == "SUCCESSFUL")
