"""What the store in memory does besides what the laws of all stores ask for."""

import asyncio

from channels.contrib.tasks.memory import MemoryStore
from channels.contrib.tasks.options import TaskOptions
from channels.contrib.tasks.records import Outcome, Record, now
from tests.asgi import until


def record(name, **values):
    return Record(name, "default", 0, b"", now(), **values)


async def test_who_has_not_taken_a_task_cannot_settle_it():
    store = MemoryStore(TaskOptions())
    store.put(record("a"))
    (taken,) = await store.fetch("w", ["default"], 5)
    outcome = Outcome(taken, "done", now())
    assert await store.settle("other", [outcome]) == [False]
    assert await store.settle("w", [outcome]) == [True]
    assert await store.settle("w", [outcome]) == [False]


async def test_what_is_given_out_is_a_copy():
    store = MemoryStore(TaskOptions())
    store.put(kept := record("a"))
    kept.worker_ids.append("changed")
    store.find("a").worker_ids.append("changed")
    assert store.find("a").worker_ids == []


async def test_waiting_ends_when_a_task_comes_from_another_thread():
    store = MemoryStore(TaskOptions())
    waiting = asyncio.create_task(store.wait("w", ["default"]))
    await asyncio.sleep(0)
    await asyncio.to_thread(store.put, record("a"))
    await until(waiting.done, 2)
    again = asyncio.create_task(store.wait("w", ["default"]))
    await until(again.done, 2)  # there is one


async def test_waiting_ends_when_a_task_is_due():
    store = MemoryStore(TaskOptions())
    store.put(record("a", run_after=now() + 30_000))
    async with asyncio.timeout(2):
        while not (taken := await store.fetch("w", ["default"], 1)):
            await store.wait("w", ["default"])
    assert taken[0].record.started_at >= taken[0].record.run_after


async def test_a_beat_needs_nothing():
    store = MemoryStore(TaskOptions())
    store.put(record("a"))
    await store.beat("w", ["default"])
    await store.aclose()
    assert len(await store.fetch("w", ["default"], 1)) == 1


async def test_leaving_concerns_what_the_worker_has():
    store = MemoryStore(TaskOptions())
    for name in "abc":
        store.put(record(name))
    await store.fetch("first", ["default"], 2)
    await store.fetch("second", ["default"], 1)
    assert await store.leave("first", ["default"], ["a"]) == 2
    assert (store.find("a").worker_ids, store.find("a").attempts) == (["first"], 0)
    assert store.find("b").worker_ids == []
    assert store.find("c").status == "RUNNING"
