"""The laws of what receives for a process, with readers of a list in memory."""

import asyncio
import threading

import pytest

from channels._runtime import backstage
from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker.receiver import Receiver

from ....asgi import until
from ..loops import another_loop, call
from ..receiver_laws import Process, ReceiverLaws


class ListReader:
    """Reads a process's list from where the reader before it has stopped."""

    def __init__(self, process):
        self.process = process
        self.next = 0
        self.calls = []
        self.abandoned = False
        self.task = None
        self.ready = asyncio.get_running_loop().create_future()

    def start(self):
        self.calls.append("start")
        self.task = backstage.start(self.read())

    async def read(self):
        while self.process.silent:
            await asyncio.sleep(0.001)
        if not self.ready.done():
            self.ready.set_result(None)
        while True:
            while not self.abandoned and self.next < len(self.process.sent):
                self.next += 1
                self.process.note(self.process.sent[self.next - 1])
            await asyncio.sleep(0.001)

    def is_ready(self):
        return self.ready.done() and not self.process.refused

    async def be_ready(self):
        if self.process.refused:
            raise BrokerError("The broker refused the credentials")
        await asyncio.shield(self.ready)

    def resume_from(self, former):
        self.calls.append("resume")
        self.next = former.next

    async def wind_down(self):
        self.calls.append("wind down")
        return self.process.winds_down

    def abandon(self):
        self.calls.append("abandon")
        self.abandoned = True

    async def stop(self):
        if self.task.done():
            return
        self.calls.append("stop")
        self.task.cancel()
        await asyncio.wait((self.task,))
        if not self.ready.done():
            self.ready.set_exception(BrokerUnavailable("The layer has been closed"))
            self.ready.exception()


class ListProcess(Process):
    def __init__(self, *, silent=False, refused=False, readers=1):
        super().__init__()
        self.sent, self.made = [], []
        self.silent, self.refused = silent, refused
        self.needed, self.winds_down = False, True
        self.count = readers
        self.receiver = Receiver(self.make_readers, lambda: self.loops, lambda: self.needed)

    def make_readers(self):
        made = [ListReader(self) for _ in range(self.count)]
        self.made += made
        return made

    def send(self, data):
        self.sent.append(data)

    def flow(self):
        self.silent = False


@pytest.fixture
def make_here():
    return ListProcess


class TestReceiver(ReceiverLaws):
    @pytest.fixture
    async def make(self):
        made = []

        def make(**options):
            made.append(ListProcess(**options))
            return made[-1]

        yield make
        for process in made:
            await process.aclose()

    async def test_each_reader_resumes_from_the_one_of_its_server_before_it_starts(self, make):
        process = make(readers=3)
        await process.receiver.be_ready()
        await process.receiver.rest()
        await process.receiver.be_ready()
        first, second = process.made[:3], process.made[3:]
        assert [reader.calls for reader in first] == [["start", "wind down", "stop", "abandon"]] * 3
        assert [reader.calls for reader in second] == [["resume", "start"]] * 3

    async def test_it_does_not_rest_while_something_would_be_lost(self, process):
        process.needed = True
        await process.receiver.be_ready()
        await process.receiver.rest()
        assert process.made[0].calls == ["start"]

    async def test_a_reader_that_does_not_wind_down_goes_on(self, process):
        process.winds_down = False
        await process.receiver.be_ready()
        await process.receiver.rest()
        assert process.made[0].calls == ["start", "wind down"]
        assert process.receiver.is_ready()

    async def test_a_loop_that_is_closed_with_tasks_is_taken_over(self, process):
        with another_loop(cancels=False) as other:
            await call(other, process.receiver.be_ready())
        await process.receiver.be_ready()
        assert process.receiver.loop is asyncio.get_running_loop()
        assert process.made[0].calls == ["start", "abandon"]
        await process.hears(b"hello")

    async def test_a_loop_whose_tasks_have_all_been_cancelled_does_not_take_over(self, process):
        """What is started on a loop that ends, too, would be left behind."""
        here, ends = asyncio.get_running_loop(), asyncio.new_event_loop()
        process.loops += [ends, here]

        async def stay():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.to_thread(over.wait, 10)

        over = threading.Event()
        thread = threading.Thread(target=ends.run_forever)
        thread.start()
        staying = asyncio.run_coroutine_threadsafe(stay(), ends)
        try:
            with another_loop() as other:
                await call(other, process.receiver.be_ready())
                staying.cancel()
            await until(lambda: process.receiver.loop is here)
        finally:
            over.set()
            await asyncio.wait((asyncio.wrap_future(staying),))
            ends.call_soon_threadsafe(ends.stop)
            thread.join(10)
            ends.close()
