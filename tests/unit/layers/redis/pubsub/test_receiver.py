import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync

from channels._runtime.loops import bridge
from channels.exceptions import BrokerUnavailable
from channels.layers.redis.pubsub.receiver import Reception
from channels.layers.redis.pubsub.subscription import PLAIN

from .....asgi import until
from ..loops import another_loop, call, check_work_is_done_on_the_loop_that_receives


class Recorder:
    """A recipient that takes note of everything, and of the thread in which it hears of it."""

    def __init__(self):
        self.heard = []
        self.lost = []
        self.restored = []

    def published(self, partition, topic, data, patience):
        self.heard.append((topic, data, threading.current_thread()))

    def subscription_lost(self, partition, reason):
        self.lost.append(reason)

    def subscription_restored(self, partition, reason):
        self.restored.append(reason)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def own(base):
    return f"{base}:process:p".encode()


@pytest.fixture
def reception(server, own, recorder):
    async def commands():
        return PLAIN

    return Reception([server], [own], recorder, commands, waiting=list)


async def test_nothing_is_received_before_somebody_wants_to(reception):
    assert reception.loop is None
    assert reception.subscriptions == []
    assert not reception.is_ready()
    reception.call_soon(lambda: pytest.fail("nobody receives"))
    await reception.stop()


async def test_the_first_loop_that_wants_to_receives(reception, recorder, redis, own):
    await reception.be_ready()
    assert reception.loop is asyncio.get_running_loop()
    assert reception.is_ready()
    assert redis.publish(own, "hello") == 1
    await until(lambda: recorder.heard)
    assert recorder.heard == [(own, b"hello", threading.current_thread())]
    await reception.stop()
    assert reception.loop is None
    await until(lambda: redis.publish(own, "unheard") == 0)


async def test_work_of_another_loop_is_done_on_the_one_that_receives(reception):
    await check_work_is_done_on_the_loop_that_receives(reception, reception.stop)


async def test_errors_of_work_on_another_loop_are_the_callers(reception):
    async def fail():
        raise BrokerUnavailable("as if")

    with another_loop() as other:
        await call(other, reception.be_ready())
        with pytest.raises(BrokerUnavailable, match="as if"):
            await reception.run(fail)
        await call(other, reception.stop())


async def test_the_next_loop_takes_over_with_the_same_topics(reception, recorder, redis, own, base):
    topic = f"{base}:group:g".encode()
    with another_loop() as other:

        async def receive():
            await reception.be_ready()
            reception.groups[0][topic] = "g"
            await reception.subscriptions[0].subscribe(topic)

        await call(other, receive())
    assert reception.loop is None
    assert not reception.is_ready()
    assert recorder.lost == []

    await reception.be_ready()
    await reception.be_repaired(0)
    assert reception.loop is asyncio.get_running_loop()
    assert len(recorder.lost) == 1
    assert recorder.restored == recorder.lost
    for name in (own, topic):
        assert redis.publish(name, "hello") == 1
    await until(lambda: len(recorder.heard) == 2)
    assert [thread for *_, thread in recorder.heard] == [threading.current_thread()] * 2
    await reception.stop()
    assert reception.groups == [{}]


async def test_a_loop_made_for_a_single_call_does_not_receive(reception, recorder, redis, own):
    try:
        await asyncio.to_thread(async_to_sync(reception.be_ready))
        assert reception.loop is bridge.loop
        assert redis.publish(own, "hello") == 1
        await until(lambda: recorder.heard)
    finally:
        await call(bridge.loop, reception.stop())


async def test_it_can_be_stopped_where_it_does_not_receive(reception, redis, own):
    with another_loop() as other:
        await call(other, reception.be_ready())
        await reception.stop()
        assert reception.subscriptions == []
        await until(lambda: redis.publish(own, "unheard") == 0)
    await reception.be_ready()
    assert reception.loop is asyncio.get_running_loop()
    await reception.stop()


def test_a_loop_that_takes_over_again_keeps_on_receiving(reception):
    """What it had abandoned when another loop took over ends only as it runs again."""

    async def check():
        subscription = reception.subscriptions[0]
        for _ in range(10):
            await asyncio.sleep(0)
        assert reception.loop is asyncio.get_running_loop()
        assert reception.subscriptions == [subscription]

    async def take_over():
        await reception.be_ready()
        await check()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        for _ in range(3):
            for runner in (first, second):
                runner.run(take_over())
        second.run(reception.stop())
