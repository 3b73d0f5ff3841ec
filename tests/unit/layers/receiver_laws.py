"""What holds for every process that receives on one event loop at a time, whatever it reads."""

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync

from channels._runtime.loops import bridge
from channels.exceptions import BrokerError, BrokerUnavailable

from ...asgi import until
from .loops import another_loop, call

PATIENCE = "channels.layers.broker.receiver.PATIENCE"


class Process:
    """What a process has around its receiver: it takes note of everything.

    Attributes:
        receiver: the one under test.
        loops: the event loops on which somebody waits for what is received.
        heard: what was received, and in which thread.
        gaps: why messages may have been lost, as often as that was told.
    """

    receiver = None

    def __init__(self):
        self.loops, self.heard, self.gaps = [], [], []

    def send(self, data):
        """Send something to this process."""
        raise NotImplementedError

    def note(self, data):
        """Something was received."""
        self.heard.append((data, threading.current_thread()))

    async def hears(self, data):
        """Send something, and wait until it has been received in this thread, once."""
        before = len(self.heard)
        self.send(data)
        await until(lambda: len(self.heard) > before)
        assert self.heard[before:] == [(data, threading.current_thread())]

    async def aclose(self):
        """End it, on the event loop that receives."""
        await self.receiver.stop()


class ReceiverLaws:
    """A subclass has the fixture ``make``, which makes a process, and tells what differs.

    A process of ``make(silent=True)`` has a broker that does not answer until ``process.flow()``,
    one of ``make(refused=True)`` a broker that refuses.
    """

    #: What is told when another event loop takes over without warning.
    gaps: list[str] = []

    @pytest.fixture
    def process(self, make):
        return make()

    # Which event loop receives

    async def test_nothing_is_received_before_somebody_wants_to(self, process):
        receiver = process.receiver
        assert receiver.loop is None
        assert receiver.readers == []
        assert not receiver.is_ready()
        receiver.call_soon(lambda: pytest.fail("no event loop receives"))
        await receiver.stop()
        await receiver.rest()
        assert receiver.readers == []

    async def test_the_first_loop_that_wants_to_receives(self, process):
        await process.receiver.be_ready()
        assert process.receiver.is_ready()
        assert process.receiver.loop is asyncio.get_running_loop()
        await process.hears(b"hello")

    async def test_it_can_be_stopped_and_started_again(self, process):
        for n in range(3):
            await process.receiver.be_ready()
            await process.hears(b"%d" % n)
            await process.receiver.stop()
            assert process.receiver.loop is None
            assert process.receiver.readers == []
            assert not process.receiver.is_ready()
        assert process.gaps == []

    async def test_a_loop_made_for_a_single_call_does_not_receive(self, process):
        try:
            await asyncio.to_thread(async_to_sync(process.receiver.be_ready))
            assert process.receiver.loop is bridge.loop
            process.send(b"hello")
            await until(lambda: process.heard)
        finally:
            await call(bridge.loop, process.aclose())

    @pytest.mark.usefixtures("restless")
    def test_threads_that_start_at_once_start_one_reader(self, make_here):
        """With two, everything would come twice."""
        for n in range(10):
            process, ready = make_here(), threading.Barrier(4)

            async def run(process=process, ready=ready, n=n):
                ready.wait(5)
                await process.receiver.be_ready()
                await asyncio.to_thread(ready.wait, 5)
                if process.receiver.loop is asyncio.get_running_loop():
                    for m in range(3):
                        await process.hears(b"%d-%d" % (n, m))
                    await process.aclose()
                await asyncio.to_thread(ready.wait, 5)

            threads = [threading.Thread(target=asyncio.run, args=(run(),)) for _ in range(4)]
            for each in threads:
                each.start()
            for each in threads:
                each.join(20)
            assert len(process.heard) == 3

    # When that event loop ends

    async def test_the_next_loop_takes_over(self, process):
        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            process.send(b"first")
            await until(lambda: process.heard)
        assert process.receiver.loop is None
        assert not process.receiver.is_ready()
        process.receiver.call_soon(lambda: pytest.fail("the event loop has been closed"))
        await process.receiver.be_ready()
        assert process.receiver.loop is asyncio.get_running_loop()
        await until(lambda: process.gaps == self.gaps)
        await process.hears(b"second")

    async def test_a_loop_on_which_somebody_waits_takes_over_by_itself(self, process):
        here = asyncio.get_running_loop()
        process.loops.append(here)
        with another_loop() as other:
            await call(other, process.receiver.be_ready())
        await until(lambda: process.receiver.loop is here and process.receiver.is_ready())

    async def test_it_can_be_stopped_where_it_does_not_receive(self, process):
        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            await process.receiver.stop()
            assert process.receiver.readers == []
            assert process.receiver.loop is None
        await process.receiver.be_ready()
        assert process.receiver.loop is asyncio.get_running_loop()

    def test_a_loop_that_takes_over_again_keeps_on_receiving(self, make_here):
        """What it had abandoned when another loop took over ends only as it runs again."""
        process = make_here()
        sent = []

        async def take_over():
            await process.receiver.be_ready()
            readers = process.receiver.readers
            for _ in range(2):
                sent.append(b"%d" % len(sent))
                await process.hears(sent[-1])
            assert process.receiver.loop is asyncio.get_running_loop()
            assert process.receiver.readers is readers

        with asyncio.Runner() as first, asyncio.Runner() as second:
            for _ in range(3):
                for runner in (first, second):
                    runner.run(take_over())
            second.run(process.aclose())
        assert [data for data, _ in process.heard] == sent

    # Resting

    async def test_connections_are_let_go_and_made_again(self, process):
        for n in range(3):
            await process.receiver.be_ready()
            await process.hears(b"%d" % n)
            await process.receiver.rest()
            assert process.receiver.loop is None
            assert not process.receiver.is_ready()
        assert process.gaps == []

    async def test_it_does_not_rest_where_somebody_waits(self, process):
        process.loops.append(asyncio.get_running_loop())
        await process.receiver.be_ready()
        await process.receiver.rest()
        assert process.receiver.is_ready()
        await process.hears(b"hello")

    async def test_a_caller_that_comes_as_it_rests_starts_it_again(self, process):
        for turns in range(8):
            await process.receiver.be_ready()
            resting = asyncio.create_task(process.receiver.rest())
            for _ in range(turns):
                await asyncio.sleep(0)
            await process.receiver.be_ready()
            await resting
            await process.receiver.be_ready()
            await process.hears(b"%d" % turns)
        assert process.gaps == []

    async def test_it_does_not_rest_if_somebody_waits_as_it_does(self, process):
        await process.receiver.be_ready()
        resting = asyncio.create_task(process.receiver.rest())
        await asyncio.sleep(0)
        process.loops.append(asyncio.get_running_loop())
        await resting
        await until(process.receiver.is_ready)
        await process.hears(b"hello")

    # A broker that does not answer, or that refuses

    async def test_callers_are_told_that_the_broker_does_not_answer(self, make, monkeypatch):
        monkeypatch.setattr(PATIENCE, 0.2)
        process = make(silent=True)
        with another_loop() as other:
            for _ in range(2):
                with pytest.raises(BrokerUnavailable, match=r"0\.2 seconds"):
                    await process.receiver.be_ready()
            with pytest.raises(BrokerUnavailable, match=r"0\.2 seconds"):
                await call(other, process.receiver.be_ready())
        process.flow()
        await until(process.receiver.is_ready)

    async def test_it_does_not_rest_while_callers_wait_for_the_start(self, make):
        process = make(silent=True)
        waiting = asyncio.create_task(process.receiver.be_ready())
        await asyncio.sleep(0)
        await process.receiver.rest()
        process.flow()
        async with asyncio.timeout(10):
            await waiting
        await process.hears(b"hello")

    async def test_callers_are_told_when_it_is_stopped_before_it_is_ready(self, make):
        process = make(silent=True)
        waiting = asyncio.create_task(process.receiver.be_ready())
        await asyncio.sleep(0)
        await process.receiver.stop()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await waiting
        process.flow()

    async def test_callers_are_told_why_the_broker_refuses(self, make):
        process = make(refused=True)
        for _ in range(2):
            with pytest.raises(BrokerError, match="credentials"):
                await process.receiver.be_ready()
            assert not process.receiver.is_ready()
