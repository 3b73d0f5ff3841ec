"""What a handler starts has begun before the next handler runs, on every event loop."""

import asyncio
import itertools
import sys

import pytest

from channels._runtime.connections import connections
from channels._runtime.turns import Turns, turn
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from tests.asgi import Server, until

pytestmark = pytest.mark.usefixtures("layer")


def uvloop_loop():
    return pytest.importorskip("uvloop").new_event_loop()


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop_loop}


def plain(loop, coro, **options):
    return asyncio.Task(coro, loop=loop, **options)


FACTORIES = {"none": None, "another": plain}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = asyncio.eager_task_factory


class Starter(AsyncWebsocketConsumer):
    """Starts a job, and looks whether it has begun."""

    made: "list[Starter]"

    def __init__(self):
        super().__init__()
        self.made.append(self)
        self.gate = asyncio.Event()
        self.begun = False
        self.waiting = False
        self.seen = []

    async def receive(self, text_data=None, bytes_data=None):
        await getattr(self, f"do_{text_data}")()

    async def note(self, message):
        await getattr(self, f"do_{message['text']}")()

    async def do_wait(self):
        self.waiting = True
        await self.gate.wait()

    async def do_start(self):
        self.job = asyncio.create_task(self.run())

    async def do_suspend(self):
        await asyncio.sleep(0.001)
        self.job = asyncio.create_task(self.run())

    async def do_crash(self):
        self.job = asyncio.create_task(self.run())
        raise LookupError

    async def do_look(self):
        self.seen.append(self.begun)

    async def run(self):
        self.begun = True

    async def disconnect(self, code):
        self.seen.append(self.begun)


async def tell(server, consumer, source, text):
    if source == "client":
        server.text(text)
    else:
        layer = get_channel_layer()
        await layer.send(consumer.channel_name, {"type": "note", "text": text})


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("how", ["start", "suspend"])
@pytest.mark.parametrize("first", ["client", "layer"])
@pytest.mark.parametrize("second", ["client", "layer"])
def test_a_job_has_begun(loop, factory, how, first, second):
    if (loop, factory) == ("uvloop", "eager"):
        pytest.skip("uvloop gives it an argument that Python's own does not take everywhere")

    async def main():
        asyncio.get_running_loop().set_task_factory(FACTORIES[factory])
        cls = type("Consumer", (Starter,), {"made": []})
        server = await Server(cls.as_asgi()).connect()
        [consumer] = cls.made
        # Both messages wait when the handler returns; the sources take turns.
        await tell(server, consumer, second, "wait")
        await until(lambda: consumer.waiting)
        received = server.received
        await tell(server, consumer, first, how)
        await tell(server, consumer, second, "look")
        expected = [first, second].count("client")
        await until(lambda: server.received == received + expected)
        consumer.gate.set()
        await until(lambda: consumer.seen)
        assert consumer.seen == [True]
        await server.leave()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_factory_that_comes_later(loop):
    async def main():
        cls = type("Consumer", (Starter,), {"made": []})
        server = await Server(cls.as_asgi()).connect()
        asyncio.get_running_loop().set_task_factory(plain)
        for text in ("start", "look"):
            server.text(text)
        await until(lambda: cls.made[0].seen)
        assert cls.made[0].seen == [True]
        await server.leave()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


async def test_disconnect_after_a_crash(caplog):
    cls = type("Consumer", (Starter,), {"made": []})
    server = await Server(cls.as_asgi()).connect()
    server.text("crash")
    await server.leave(1011)
    assert cls.made[0].seen == [True]


async def test_a_job_that_a_sync_handler_starts():
    """From its thread, on the consumer's event loop."""
    seen = []
    loop = asyncio.get_running_loop()

    class Consumer(WebsocketConsumer):
        begun = False

        def receive(self, text_data=None, bytes_data=None):
            if text_data == "start":
                loop.call_soon_threadsafe(lambda: loop.create_task(self.run()))
            else:
                seen.append(self.begun)

        async def run(self):
            self.begun = True

    server = await Server(Consumer.as_asgi()).connect()
    server.text("start")
    server.text("look")
    await until(lambda: seen)
    assert seen == [True]
    await server.leave()


async def test_a_handler_that_starts_nothing_costs_no_turn():
    turns = []

    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            seen.append(text_data)

    seen = []
    server = await Server(Consumer.as_asgi()).connect()
    for number in range(5):
        server.text(str(number))

    def count():
        turns.append(len(seen))
        if len(seen) < 5:
            asyncio.get_running_loop().call_soon(count)

    count()
    await until(lambda: len(seen) == 5)
    assert any(after - before > 1 for before, after in itertools.pairwise(turns))
    await server.leave()


async def test_tasks_are_what_they_would_be_without_it():
    server = await Server(AsyncWebsocketConsumer.as_asgi()).connect()
    turns = connections.get().turns
    before = turns.count
    assert not turns.due(before)
    task = asyncio.create_task(asyncio.sleep(0, "result"), name="a name")
    assert turns.due(before)
    assert type(task) is asyncio.Task
    assert task.get_name() == "a name"
    assert await task == "result"
    await server.leave()


async def test_a_factory_that_was_there_stays():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(plain)
    turns = Turns(loop)
    assert loop.get_task_factory() is plain
    assert turns.due(turns.count)


async def test_a_loop_without_factories():
    class Loop:
        def get_task_factory(self):
            return None

        def set_task_factory(self, factory):
            raise NotImplementedError

    turns = Turns(Loop())
    assert turns.due(turns.count)


async def test_a_turn_comes_after_what_was_there_before():
    order = []
    asyncio.get_running_loop().call_soon(order.append, "before")
    await turn()
    order.append("after")
    assert order == ["before", "after"]
