"""A layer among threads and event loops, and its end."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from asgiref.sync import async_to_sync

from .base import Layer, LayerHarness, Message, check_equal, extends

__all__ = ["LifecycleTests"]

_NEWS = {"type": "conformance.news"}

# How often a receiver has to be woken, and how long the other side is given to fall asleep first,
# in seconds.
_SENDS = 4
_PAUSE = 0.01


class LifecycleTests(LayerHarness):
    """Synchronous code, threads, several event loops; ``flush`` and ``aclose``."""

    async def test_a_send_from_a_thread_wakes_a_receiver(self) -> None:
        async with self.threaded_layer() as layer:
            for channel in ("channel", await layer.new_channel()):
                await self.check_woken(layer, channel, partial(async_to_sync(layer.send), channel))

    async def test_a_group_send_from_a_thread_wakes_a_receiver(self) -> None:
        async with self.threaded_layer("groups") as layer:
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            send = partial(async_to_sync(layer.group_send), "group")
            await self.check_woken(layer, channel, send)

    async def test_many_threads_lose_and_repeat_nothing(self) -> None:
        async with self.threaded_layer() as layer:

            def send_all(sender: int) -> None:
                for n in range(10):
                    async_to_sync(layer.send)(
                        "channel", {"type": "conformance.n", "n": [sender, n]}
                    )

            threads = [_start_thread(send_all, sender) for sender in range(5)]
            received = [(await self.receive(layer, "channel"))["n"] for _ in range(50)]
            check_equal(await self.drain(layer, "channel"), [], "nothing arrives twice")
            for sender in range(5):
                own = [n for who, n in received if who == sender]
                check_equal(own, list(range(10)), "each thread's messages arrive in order")
            for thread in threads:
                thread.join()

    async def test_a_receiver_on_another_running_loop_is_woken(self) -> None:
        async with self.threaded_layer() as layer:
            loop = asyncio.get_running_loop()

            def send(news: Message) -> None:
                sending = asyncio.run_coroutine_threadsafe(layer.send("channel", news), loop)
                sending.result(self.deadline)

            receiving = self.check_woken(layer, "channel", send)
            await asyncio.to_thread(asyncio.run, receiving)

    async def test_event_loops_one_after_another(self) -> None:
        async with self.layer("outlives_event_loops") as layer:
            await self.check_exchange(layer)
            for _ in range(3):
                await asyncio.to_thread(asyncio.run, self.check_exchange(layer))
            await self.check_exchange(layer)

    async def test_synchronous_code_has_a_new_loop_for_each_call(self) -> None:
        async with self.layer("outlives_event_loops", "groups") as layer:

            def synchronous() -> None:
                async_to_sync(layer.send)("named", _NEWS)
                channel = async_to_sync(layer.new_channel)()
                async_to_sync(layer.group_add)("group", channel)
                async_to_sync(layer.group_send)("group", _NEWS)
                for each in ("named", channel):
                    received = async_to_sync(self.receive)(layer, each)
                    check_equal(received, _NEWS, "what one event loop sent another receives")
                async_to_sync(layer.group_discard)("group", channel)

            await asyncio.to_thread(synchronous)

    async def test_flush_forgets_messages_and_groups(self) -> None:
        async with self.layer("flush") as layer:
            groups = extends(layer, "groups")
            channel = await layer.new_channel()
            await layer.send("channel", _NEWS)
            await layer.send(channel, _NEWS)
            if groups:
                await layer.group_add("group", channel)
            await layer.flush()
            if groups:
                await layer.group_send("group", _NEWS)
            for each in ("channel", channel):
                check_equal(await self.drain(layer, each), [], "after flush() nothing is left")

    async def test_a_flushed_layer_works(self) -> None:
        async with self.layer("flush") as layer:
            await layer.flush()
            await self.check_exchange(layer)

    async def test_closing_leaves_no_task_behind(self) -> None:
        before = asyncio.all_tasks()
        async with self.layer() as layer:
            await self.check_exchange(layer)
            receiver = asyncio.create_task(layer.receive("channel"))
            await asyncio.sleep(0)
            receiver.cancel()
            await asyncio.wait([receiver])
        promise = "a closed layer leaves no task behind"
        await self.eventually(lambda: not asyncio.all_tasks() - before, promise)

    async def test_closing_twice_is_closing_once(self) -> None:
        async with self.layer() as layer:
            await self.check_exchange(layer)
            await self.close_layer(layer)

    @asynccontextmanager
    async def threaded_layer(self, *needs: str) -> AsyncIterator[Layer]:
        """Make a layer whose receivers other threads are going to wake.

        An event loop in debug mode answers a layer that wakes them without ``*_threadsafe`` with
        an exception in the sender, and a receiver that cannot even be cancelled any more. Without
        debug mode it does what it would do in production: it wakes up late, and the test fails.
        """
        asyncio.get_running_loop().set_debug(False)
        async with self.layer("serves_threads", *needs) as layer:
            yield layer

    async def check_woken(
        self, layer: Layer, channel: str, send: Callable[[Message], object]
    ) -> None:
        """Check that what ``send`` sends from a thread wakes a receiver on this event loop.

        An event loop that happens to run at the moment of the send needs no one to wake it, so
        there are several sends, each as the loop is about to sleep.
        """
        for n in range(_SENDS):
            receiver = asyncio.create_task(layer.receive(channel))
            await asyncio.sleep(_PAUSE)
            news = {"type": "conformance.news", "n": n}
            thread = _start_thread(_send_later, send, news)
            received = await self.soon(receiver, "what a thread sends arrives at once")
            check_equal(received, news, "what a thread sends arrives")
            thread.join()

    async def check_exchange(self, layer: Layer) -> None:
        """Check that direct messages and group messages reach receivers that wait already."""
        channel = await layer.new_channel()
        sends: list[Callable[[], Awaitable[None]]] = [lambda: layer.send(channel, _NEWS)]
        if extends(layer, "groups"):
            await layer.group_add("exchange", channel)
            sends.append(lambda: layer.group_send("exchange", _NEWS))
        for send in sends:
            receiver = asyncio.create_task(self.receive(layer, channel))
            await asyncio.sleep(0)
            await send()
            check_equal(await receiver, _NEWS, "the layer works on this event loop")
        if extends(layer, "groups"):
            await layer.group_discard("exchange", channel)


def _send_later(send: Callable[[Message], object], message: Message) -> None:
    time.sleep(_PAUSE)
    send(message)


def _start_thread(function: Callable[..., object], *args: object) -> threading.Thread:
    # A bare thread: the end of one from a pool would wake the event loop by itself, and so hide
    # that the layer did not.
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread
