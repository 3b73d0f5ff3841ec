"""What the store on Redis does besides what the laws of all stores ask for."""

import asyncio

import pytest
from asgiref.sync import async_to_sync

from channels.contrib.tasks.exceptions import UnknownTask
from channels.contrib.tasks.memory import MemoryStore
from channels.contrib.tasks.options import TaskOptions
from channels.contrib.tasks.records import Outcome, Record, now
from channels.contrib.tasks.redis.store import RedisStore
from channels.contrib.tasks.store import store_for
from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.redis import RedisChannelLayer
from tests.asgi import until
from tests.brokers import running

pytestmark = pytest.mark.server

ROOT = "{asgi:0}:tasks:default"
QUEUE = f"{ROOT}:q:default"


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def make(broker):
    """Make a store, whose servers are empty."""
    broker.cli("FLUSHALL")
    made = []

    def make(hosts=1, keys=None, **options):
        urls = [f"redis://127.0.0.1:{broker.port}/{number}" for number in range(hosts)]
        layer = RedisChannelLayer(hosts=urls, symmetric_encryption_keys=keys)
        made.append(RedisStore("default", TaskOptions(**options), layer))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


@pytest.fixture
def client(broker):
    with broker.client() as client:
        yield client


async def put(store, queue="default", priority=0, run_after=0):
    """Enqueue a task, and return its ID."""
    task_id = store.new_id(queue)
    payload = store.codec.encode_call(task_id, "module.secret", ["secret"], {})
    await store.enqueue(Record(task_id, queue, priority, payload, now(), run_after))
    return task_id


def ids(taken):
    return [task.record.id for task in taken]


async def test_an_answer_that_was_lost_comes_again(make):
    store = make()
    known, lost = await put(store), await put(store)
    assert ids(await store.fetch("w", ["default"], 2)) == [known, lost]
    taken = await store.fetch("w", ["default"], 2, running=[known])
    assert ids(taken) == [lost]
    assert taken[0].record.worker_ids == ["w"], "it is the same attempt"
    assert await store.fetch("w", ["default"], 2, running=[known, lost]) == []


async def test_settling_may_be_repeated(make):
    store = make()
    await put(store)
    (taken,) = await store.fetch("w", ["default"], 1)
    done = Outcome(taken, "done", now(), value=b"value")
    assert await store.settle("w", [done]) == [True]
    assert await store.settle("w", [done]) == [True], "the answer may have been lost"
    later = Outcome(taken, "done", now() + 1, value=b"other")
    assert await store.settle("w", [later]) == [False]
    assert (await store.counts("default")).succeeded == 1


async def test_enqueueing_may_be_repeated(make):
    store = make()
    record = Record(store.new_id("default"), "default", 0, b"", now())
    await store.enqueue(record)
    await store.enqueue(record)
    assert (await store.counts("default")).waiting == 1


async def test_what_a_lost_worker_had_is_handed_to_others(make):
    store = make(lease=0.05, max_attempts=2)
    first, second = await put(store, priority=5), await put(store)
    assert len(await store.fetch("dead", ["default"], 5)) == 2
    await asyncio.sleep(0.1)
    (taken,) = await store.fetch("w", ["default"], 1)
    assert (taken.record.id, taken.record.worker_ids) == (first, ["dead", "w"])
    assert (taken.record.lost, taken.exhausted) == (["dead"], False)
    assert ids(await store.fetch("w", ["default"], 5)) == [second]
    await asyncio.sleep(0.1)
    (taken,) = await store.fetch("last", ["default"], 5)
    assert (taken.record.id, taken.exhausted) == (first, True)
    assert taken.record.lost == ["dead", "w"]
    assert taken.record.worker_ids == ["dead", "w"], "no attempt begins"
    assert ids(await store.fetch("last", ["default"], 5)) == [second]


async def test_tasks_that_may_end_workers_are_kept_apart(make):
    store = make(lease=0.05, max_attempts=10)
    both = [await put(store, priority=5), await put(store)]
    for worker in ("first", "second"):
        assert ids(await store.fetch(worker, ["default"], 5)) == both
        await asyncio.sleep(0.1)
    new = await put(store)
    (suspect, other) = await store.fetch("third", ["default"], 5)
    assert (suspect.record.id, other.record.id) == (both[0], new)
    assert (suspect.is_suspect, other.is_suspect) == (True, False)
    assert await store.fetch("third", ["default"], 5, has_suspect=True) == []
    assert ids(await store.fetch("fourth", ["default"], 5)) == [both[1]]


async def test_beats_keep_what_a_worker_has(make):
    store = make(lease=0.3)
    await put(store)
    await store.fetch("w", ["default"], 1)
    for _ in range(8):
        await asyncio.sleep(0.05)
        await store.beat("w", ["default"])
        assert await store.fetch("other", ["default"], 1) == []


async def test_a_failure_of_a_worker_that_counts_as_lost_does_not_count(make):
    store = make(lease=0.05)
    task_id = await put(store)
    (slow,) = await store.fetch("slow", ["default"], 1)
    await asyncio.sleep(0.1)
    (taken,) = await store.fetch("w", ["default"], 1)
    for kind in ("retry", "failed"):
        assert await store.settle("slow", [Outcome(slow, kind, now())]) == [False]
    assert (await store.load(task_id)).status == "RUNNING"
    assert await store.settle("slow", [Outcome(slow, "done", now(), value=b"first")]) == [True]
    assert await store.settle("w", [Outcome(taken, "done", now() + 9, value=b"x")]) == [False]
    assert (await store.load(task_id)).value == b"first"


async def test_queues_are_spread_over_servers(make, client):
    store = make(hosts=2)
    queues = ["mail", "images", "reports", "slow", "a", "b"]
    tasks = {queue: await put(store, queue) for queue in queues}
    partitions = {task_id[-2:] for task_id in tasks.values()}
    assert partitions == {"00", "01"}
    taken = await store.fetch("w", queues, 3)
    assert len(taken) == 3
    taken += await store.fetch("w", queues, 10)
    assert set(ids(taken)) == set(tasks.values())
    await store.beat("w", queues)
    outcomes = [Outcome(task, "done", now(), value=b"v") for task in taken]
    assert await store.settle("w", outcomes[:4]) == [True] * 4
    assert await store.leave("w", queues, [taken[4].record.id]) == 2
    for task in taken[:4]:
        assert (await store.load(task.record.id)).status == "SUCCESSFUL"
    waiting = asyncio.create_task(store.wait("w", queues))
    async with asyncio.timeout(3):
        await waiting  # what was given back has rung
        other = asyncio.create_task(store.wait("w", queues))
        await asyncio.sleep(0.1)
        await put(store, queues[0])
        await other


async def test_an_id_from_when_there_were_more_servers_is_unknown(make):
    store = make()
    assert await store.load("0" * 30 + "07") is None


async def test_waiting_ends_when_a_task_is_due(make):
    store = make(hosts=2)
    soon, later = now() + 100_000, now() + 60_000_000
    queues = ["mail", "images", "reports", "slow", "a", "b"]
    for queue in queues:
        await put(store, queue, run_after=later)
    task_id = await put(store, queues[0], run_after=soon)
    async with asyncio.timeout(3):
        while not (taken := await store.fetch("w", queues, 1)):
            await store.wait("w", queues)
    assert ids(taken) == [task_id]


async def test_nobody_waits_for_what_is_due_now(make):
    store = make()
    await put(store, run_after=now() + 1500)
    await store.fetch("w", ["default"], 1)
    store._due["w"] = 0.0
    started = now()
    await store.wait("w", ["default"])
    assert now() - started < 1e6, "it would be 3.3 s"


async def test_a_broker_that_fails_ends_the_wait(make, broker):
    store = make()
    await store.fetch("w", ["default"], 1)
    waiting = asyncio.create_task(store.wait("w", ["default"]))
    await asyncio.sleep(0.1)
    broker.cli("CLIENT", "KILL", "TYPE", "normal")
    await until(waiting.done, 2)
    assert waiting.exception() is None


async def test_who_gives_up_waiting_leaves_no_answer_behind(make):
    store = make()
    waiting = asyncio.create_task(store.wait("w", ["default"]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    task_id = await put(store)
    async with asyncio.timeout(2):
        await store.wait("w", ["default"])
    assert ids(await store.fetch("w", ["default"], 1)) == [task_id]


async def test_a_stream_that_was_evicted_is_made_anew(make, client):
    store = make()
    await put(store)
    client.delete(f"{QUEUE}:ready:0")
    assert await store.fetch("w", ["default"], 1) == []
    task_id = await put(store)
    assert ids(await store.fetch("w", ["default"], 1)) == [task_id]


async def test_a_task_that_was_deleted_is_passed_over(make, client):
    store = make()
    gone, task_id = await put(store), await put(store)
    client.delete(f"{ROOT}:t:{gone}")
    assert ids(await store.fetch("w", ["default"], 2)) == [task_id]
    assert (await store.counts("default")).running == 1


async def test_nothing_is_left_of_a_queue_that_is_empty_but_its_counts(make, client):
    store = make(result_ttl=0)
    task_id = await put(store)
    (taken,) = await store.fetch("w", ["default"], 1)
    await store.settle("w", [Outcome(taken, "done", now())])
    await store.fetch("w", ["default"], 1)
    await store.leave("w", ["default"], [])
    assert {key.decode() for key in client.keys("*")} == {f"{QUEUE}:totals", f"{QUEUE}:bell"}
    assert await store.load(task_id) is None


async def test_no_dead_letter_may_be_kept(make):
    store = make(dead_letters=0)
    await put(store)
    (taken,) = await store.fetch("w", ["default"], 1)
    await store.settle("w", [Outcome(taken, "failed", now())])
    counts = await store.counts("default")
    assert (counts.failed, counts.dead, counts.dropped) == (1, 0, 1)
    assert await store.dead("default", 0) == []


async def test_counts_of_a_newer_version_are_passed_over(make, client):
    store = make()
    client.hset(f"{QUEUE}:totals", mapping={"succeeded": 3, "of a newer version": 4})
    assert (await store.counts("default")).succeeded == 3


async def test_what_cannot_be_read_is_an_error_of_the_broker(make, client):
    store = make()
    task_id = await put(store)
    client.hset(f"{ROOT}:t:{task_id}", "n", "rubbish")
    with pytest.raises(BrokerError, match="cannot be read"):
        await store.load(task_id)


async def test_a_broker_that_is_gone_is_told_and_nothing_is_half_done(make, broker):
    store = make()
    await put(store)
    (connection,) = store._partitions.senders.get().connections
    connection._patience = 0.2
    broker.kill()
    with pytest.raises(BrokerUnavailable):
        await put(store)
    with pytest.raises(BrokerError):
        await store.fetch("w", ["default"], 1)
    await store.wait("w", ["default"])
    broker.start()
    connection._patience = 30.0
    assert (await store.counts("default")).waiting == 0, "this one keeps nothing on its disk"
    task_id = await put(store)
    assert ids(await store.fetch("w", ["default"], 5, running=[])) == [task_id]


async def test_what_is_kept_is_encrypted_if_messages_are(make, client):
    store = make(keys=["key"])
    task_id = await put(store)
    record = await store.load(task_id)
    assert b"secret" not in record.payload
    assert store.codec.decode_call(task_id, record.payload)[0] == "module.secret"
    with pytest.raises(UnknownTask):
        MemoryStore(TaskOptions()).codec.decode_call(task_id, record.payload)


def test_calls_on_passing_event_loops_share_a_connection(broker):
    broker.cli("FLUSHALL")
    store = RedisStore("default", TaskOptions(), RedisChannelLayer(hosts=[broker.url]))
    before = broker.cli("INFO", "clients")
    for _ in range(5):
        task_id = async_to_sync(put)(store)
        assert async_to_sync(store.load)(task_id).status == "READY"
        assert async_to_sync(store.counts)("default").waiting
    after = broker.cli("INFO", "clients")
    assert after["connected_clients"] <= before["connected_clients"] + 1


def test_a_layer_on_redis_has_such_a_store(settings, broker):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.redis.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [broker.url]},
        }
    }
    assert isinstance(store_for("default", TaskOptions()), RedisStore)
