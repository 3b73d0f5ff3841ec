import asyncio
import gc
import itertools
import time
import uuid
import warnings
from collections import deque

import pytest
from redis import exceptions as redis_errors

from channels.exceptions import BrokerError, Unconfirmed
from channels.layers.redis.connection import pipeline as pipeline_module
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.pipeline import Call, Pipeline
from channels.layers.redis.scripts import SCRIPTS

from .....asgi import until
from .....proxy import Proxy
from .cluster_node import FIRST_HALF, OTHER_NODE, SECOND_HALF, key_in

PATIENCE = 0.5


@pytest.fixture
async def proxy(shared_broker):
    async with Proxy(shared_broker.address) as proxy:
        yield proxy


class Harness:
    """A pipeline, and the calls that wait for it."""

    def __init__(self):
        self.waiting = deque()
        self.expired = []
        self.pipeline = None

    def call(self, *command, **options):
        future = asyncio.get_running_loop().create_future()
        call = Call(command, future, time.monotonic() + 10, **options)
        self.waiting.append(call)
        if self.pipeline is not None:
            self.pipeline.flush_soon()
        return future

    async def connect(self, address, **options):
        host = {"address": address, "socket_timeout": PATIENCE, **options}
        server = parse_hosts([host], "x")[0][0]
        self.pipeline = Pipeline(
            server, await server.connect(), self.waiting, itertools.count(1), self.expired.append
        )
        self.pipeline.flush()
        return self.pipeline


@pytest.fixture
async def harness():
    harness = Harness()
    yield harness
    if harness.pipeline is not None:
        await harness.pipeline.aclose()


async def test_what_waits_is_sent_with_what_its_answers_lead_to(harness, proxy, prefix):
    sizes = []
    await harness.connect(proxy.address)
    proxy.on_request = lambda data: sizes.append(data.count(b"INCR"))

    async def caller():
        for _ in range(3):
            await harness.call("INCR", prefix)

    await asyncio.gather(*(caller() for _ in range(10)))
    assert sizes == [10, 10, 10]


async def test_no_more_than_a_batch_is_under_way(monkeypatch, harness, proxy, prefix):
    monkeypatch.setattr(pipeline_module, "_BATCH", 4)
    sizes = []
    proxy.on_request = lambda data: sizes.append(data.count(b"INCR"))
    calls = [harness.call("INCR", prefix) for _ in range(10)]
    await harness.connect(proxy.address)
    assert harness.pipeline.under_way == 4
    assert await asyncio.gather(*calls) == list(range(1, 11))
    assert [size for size in sizes if size] == [4, 4, 2]


async def test_calls_that_were_given_up_take_no_room_nor_number(
    harness, shared_broker, redis, base
):
    keys = [f"{base}:queue:q", f"{base}:queue:q:expiry", f"{base}:sender:s"]
    command = ("EVALSHA", SCRIPTS["enqueue"].sha, 3, *keys, 9000, "m", 100, 9000)
    calls = [harness.call(*command, number_at=6) for _ in range(4)]
    for call in calls[:3]:
        call.cancel()
    pipeline = await harness.connect(shared_broker.address)
    assert pipeline.under_way == 1
    assert await calls[3] == [1, 0]
    assert redis.get(keys[-1]) == b"1"


async def test_an_answer_that_is_late_ends_the_pipeline(harness, proxy):
    pipeline = await harness.connect(proxy.address)
    await harness.call("PING")
    proxy.stall()
    started = time.monotonic()
    call = harness.call("PING")
    with pytest.raises(TimeoutError, match="no answer for"):
        await pipeline.over
    assert PATIENCE <= time.monotonic() - started < PATIENCE + 5
    assert not call.done()


async def test_silence_is_no_fault_while_nothing_is_under_way(harness, proxy):
    pipeline = await harness.connect(proxy.address)
    await harness.call("PING")
    proxy.stall()
    await asyncio.sleep(PATIENCE * 2)
    assert not pipeline.over.done()
    proxy.flow()
    assert await harness.call("PING") == b"PONG"


async def test_an_event_loop_that_was_held_up_takes_what_has_come(harness, shared_broker):
    pipeline = await harness.connect(shared_broker.address)
    await harness.call("PING")
    call = harness.call("PING")
    await asyncio.sleep(0)  # it is sent
    time.sleep(PATIENCE * 2)
    assert await call == b"PONG"
    assert not pipeline.over.done()


async def test_answers_that_keep_coming_are_not_late(harness, shared_broker, prefix):
    calls = [harness.call("BLPOP", prefix, PATIENCE / 3) for _ in range(6)]
    pipeline = await harness.connect(shared_broker.address)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*calls) == [None] * 6
    assert not pipeline.over.done()


async def test_a_call_that_may_not_be_repeated_fails_and_others_wait_again(harness, proxy, prefix):
    pipeline = await harness.connect(proxy.address)
    await harness.call("PING")
    proxy.stall()
    first, once, third = (
        harness.call("INCR", prefix, repeat=repeat) for repeat in (True, False, True)
    )
    await asyncio.sleep(0)
    never_sent = harness.call("INCR", prefix, repeat=False)
    assert pipeline.under_way == 3
    proxy.cut()
    with pytest.raises((OSError, redis_errors.ConnectionError)):
        await pipeline.over
    await pipeline.aclose()
    with pytest.raises(Unconfirmed):
        await once
    assert [call.future for call in harness.waiting] == [first, third, never_sent]
    proxy.flow()
    await harness.connect(proxy.address)
    assert await asyncio.gather(first, third, never_sent)


async def test_a_pipeline_that_is_to_finish_ends_after_its_calls(harness, shared_broker, prefix):
    calls = [harness.call("INCR", prefix) for _ in range(3)]
    pipeline = await harness.connect(shared_broker.address)
    harness.call("INCR", prefix)
    pipeline.finish()
    assert await pipeline.over is None
    assert [call.result() for call in calls] == [1, 2, 3]
    assert not harness.waiting


async def test_scripts_are_loaded_before_all_that_waits(harness, shared_broker, redis, base):
    redis.script_flush()
    keys = [f"{base}:queue:q", f"{base}:queue:q:expiry", f"{base}:sender:s"]
    sha = SCRIPTS["enqueue"].sha
    calls = [
        harness.call("EVALSHA", sha, 3, *keys, 9000, n, 100, 9000, number_at=6) for n in range(3)
    ]
    await harness.connect(shared_broker.address)
    assert await asyncio.gather(*calls) == [[1, 0]] * 3
    assert [fields[b"m"] for _, fields in redis.xrange(keys[0])] == [b"0", b"1", b"2"]
    assert redis.script_exists(*(script.sha for script in SCRIPTS.values())) == [1] * len(SCRIPTS)


async def test_a_refused_call_gets_another_number_when_a_later_one_was_carried_out(
    harness, proxy, redis, base
):
    keys = [f"{base}:queue:q", f"{base}:queue:q:expiry", f"{base}:sender:s"]
    source, sha = SCRIPTS["enqueue"].source, SCRIPTS["enqueue"].sha
    redis.script_flush()
    rest = (3, *keys, 9000, "m", 100, 9000)
    refused = harness.call("EVALSHA", sha, *rest, number_at=6)
    carried_out = harness.call("EVAL", source, *rest, number_at=6)
    await harness.connect(proxy.address)
    assert await asyncio.gather(refused, carried_out) == [[1, 0]] * 2
    assert redis.xlen(keys[0]) == 2
    assert redis.get(keys[-1]) == b"3"


async def test_a_refused_call_does_not_come_after_one_with_a_higher_number(
    harness, proxy, redis, base
):
    """The server would take it for a repeat and ignore it."""
    queue, inbox, sender = f"{base}:queue:q", f"{base}:inbox:p", f"{base}:sender:s"
    enqueue, invite = SCRIPTS["enqueue"], SCRIPTS["invite"]
    redis.script_flush()
    redis.xadd(inbox, {"h": ""})
    rest = (3, queue, f"{queue}:expiry", sender, 9000, "m", 100, 9000)
    calls = [
        harness.call("EVALSHA", enqueue.sha, *rest, number_at=6),  # refused
        harness.call("EVAL", enqueue.source, *rest, number_at=6),  # so this one's number is higher
        harness.call(  # refused, without a later one that is not
            "EVALSHA", invite.sha, 3, f"{base}:group:g", inbox, sender, 9000, "p:p", 0, "j", "g",
            number_at=6,
        ),
    ]  # fmt: skip
    await harness.connect(proxy.address)
    assert await asyncio.gather(*calls) == [[1, 0], [1, 0], 1]
    assert redis.xlen(queue) == 2
    assert redis.xlen(inbox) == 2


async def test_a_user_who_may_not_load_scripts_is_told(harness, shared_broker, redis, base):
    redis.script_flush()
    name = uuid.uuid4().hex
    redis.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all", "-script")
    try:
        call = harness.call("EVALSHA", SCRIPTS["join"].sha, 1, f"{base}:group:g", "p:p", 1000)
        await harness.connect(shared_broker.address, username=name, password="secret")
        async with asyncio.timeout(5):
            with pytest.raises(BrokerError, match="script"):
                await call
        assert await harness.call("PING") == b"PONG"
    finally:
        redis.execute_command("ACL", "DELUSER", name)


async def test_the_timer_ends_with_the_pipeline(harness, shared_broker):
    pipeline = await harness.connect(shared_broker.address)
    await harness.call("PING")
    assert not pipeline._watching.cancelled()
    await pipeline.aclose()
    assert pipeline._watching.cancelled()
    await until(pipeline.over.cancelled)


async def test_a_caller_that_gave_up_need_not_be_told_of_a_refusal(harness, shared_broker):
    await harness.connect(shared_broker.address)
    refused, asked = harness.call("NONSENSE"), harness.call("PING")
    harness.pipeline.flush()
    assert harness.pipeline.under_way == 2
    refused.cancel()
    assert await asked == b"PONG"
    assert refused.cancelled()


async def test_what_the_server_says_unasked_ends_the_pipeline(
    harness, shared_broker, redis, prefix
):
    await harness.connect(shared_broker.address)
    await harness.call("SUBSCRIBE", prefix)
    redis.publish(prefix, "text")
    with pytest.raises(ConnectionError, match="unasked"):
        await asyncio.wait_for(harness.pipeline.over, 5)


async def test_a_server_that_is_loading_needs_another_connection(harness, shared_broker):
    """Answered by hand: a server that has enough to load takes seconds."""
    async with Proxy(shared_broker.address) as proxy:
        await harness.connect(proxy.address)
        proxy.stall()
        harness.call("PING")
        harness.pipeline.flush()
        assert proxy.say(b"-LOADING soon\r\n") == 1
        with pytest.raises(redis_errors.BusyLoadingError):
            await asyncio.wait_for(harness.pipeline.over, 5)


async def test_keys_that_are_at_another_node_need_another_connection(harness, cluster_node):
    await harness.connect(cluster_node.address)
    answer = harness.call("GET", key_in(SECOND_HALF))
    with pytest.raises(BrokerError, match="is a node of a Redis Cluster"):
        await asyncio.wait_for(harness.pipeline.over, 5)
    assert not answer.done()


async def test_what_is_refused_while_keys_are_moving_is_repeated(harness, cluster_node):
    key = key_in(FIRST_HALF)
    slot = cluster_node.cli("CLUSTER", "KEYSLOT", key)
    cluster_node.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", OTHER_NODE)
    try:
        await harness.connect(cluster_node.address)
        answer = harness.call("GET", key)
        await until(lambda: len(harness.expired) >= 2)
        assert not answer.done()
        assert isinstance(harness.expired[0], redis_errors.AskError)
    finally:
        cluster_node.cli("CLUSTER", "SETSLOT", slot, "STABLE")
    assert await asyncio.wait_for(answer, 5) is None
    assert not harness.pipeline.over.done()


def test_it_can_be_let_go_when_its_event_loop_has_been_closed(shared_broker, redis, prefix):
    harness = Harness()

    async def connect():
        await harness.connect(shared_broker.address, client_name=prefix)
        await harness.call("PING")

    def connected():
        return any(client["name"] == prefix for client in redis.client_list())

    asyncio.run(connect())
    assert connected()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # such event loops leave their sockets
        harness.pipeline.abandon()
        asyncio.run(until(lambda: not connected()))
        harness.pipeline = None
        gc.collect()
