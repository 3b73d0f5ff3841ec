"""What receives for a process, with readers of a list in memory: the laws, and what needs none."""

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync

from channels._runtime import backstage
from channels._runtime.loops import bridge
from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker.receiver import Receiver

from ....asgi import until
from ..loops import another_loop, call, where
from ..receiver_laws import Process, ReceiverLaws


class ListReader:
    """Reads a process's list from where the reader before it has stopped."""

    def __init__(self, process):
        self.process = process
        self.next = 0
        self.calls = []
        self.abandoned = False
        self.awaited = threading.Event()
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
        self.awaited.set()
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

    # Work for the event loop that receives

    async def test_work_is_done_here_if_no_loop_receives(self, process):
        assert await process.receiver.run(where) is asyncio.get_running_loop()
        assert process.receiver.loop is None

    async def test_work_of_the_loop_that_receives_stays_in_its_task(self, process):
        async def which():
            return asyncio.current_task()

        await process.receiver.be_ready()
        assert await process.receiver.run(which) is asyncio.current_task()

    async def test_a_loop_made_for_a_single_call_leaves_work_to_the_bridge(self, process):
        run = process.receiver.run
        assert await asyncio.to_thread(async_to_sync(run), where) is bridge.loop

    async def test_work_of_another_loop_is_done_on_the_one_that_receives(self, process):
        receiver = process.receiver
        with another_loop() as other:
            await call(other, receiver.be_ready())
            assert receiver.loop is other
            assert await receiver.run(where) is other
            await receiver.be_ready()
            assert receiver.loop is other
            called = threading.Event()
            receiver.call_soon(called.set)
            assert await asyncio.to_thread(called.wait, 10)
            await call(other, process.aclose())

    @pytest.mark.parametrize("error", [BrokerUnavailable, LookupError])
    async def test_errors_of_work_on_another_loop_are_the_callers(self, process, error):
        async def fail():
            raise error("as if")

        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            with pytest.raises(error, match="as if"):
                await process.receiver.run(fail)
            await call(other, process.aclose())

    @pytest.mark.parametrize("error", [None, BrokerUnavailable])
    async def test_work_is_done_again_if_the_loop_ends_meanwhile(self, process, error):
        begun, here = threading.Event(), await where()

        async def work():
            if await where() is here:
                return "done"
            begun.set()
            try:
                return await asyncio.Event().wait()
            finally:
                if error is not None:  # as the connections of that loop are closed
                    await asyncio.sleep(0.01)
                    raise error("closed")

        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            task = asyncio.create_task(process.receiver.run(work))
            assert await asyncio.to_thread(begun.wait, 10)
        async with asyncio.timeout(10):
            assert await task == "done"

    async def test_work_is_not_done_again_on_a_receiver_that_was_stopped(self, process):
        begun, end = threading.Event(), threading.Event()

        async def work():
            begun.set()
            await asyncio.to_thread(end.wait, 10)
            raise BrokerUnavailable("closed")

        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            task = asyncio.create_task(process.receiver.run(work))
            assert await asyncio.to_thread(begun.wait, 10)
            await call(other, process.aclose())
            end.set()
            with pytest.raises(BrokerUnavailable, match="closed"):
                await task

    async def test_no_loop_takes_over_from_one_that_was_stopped(self, process):
        process.loops.append(asyncio.get_running_loop())
        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            await call(other, process.aclose())
        await asyncio.sleep(0)  # this loop's turn, in which it would
        assert process.receiver.loop is None

    async def test_no_loop_takes_over_if_it_is_stopped_when_its_turn_comes(self, process):
        process.loops.append(asyncio.get_running_loop())
        with another_loop() as other:
            await call(other, process.receiver.be_ready())
        await process.receiver.stop()  # this loop has been asked, and had no turn yet
        await asyncio.sleep(0)
        assert process.receiver.loop is None
        assert len(process.made) == 1

    async def test_a_loop_that_waits_for_another_to_receive_does_so_itself_when_that_ends(
        self, make
    ):
        process = make(silent=True)
        with another_loop() as other:
            starting = asyncio.ensure_future(call(other, process.receiver.be_ready()))
            await until(lambda: process.made)
            (reader,) = process.made
            assert await asyncio.to_thread(reader.awaited.wait, 10)
            reader.awaited.clear()
            waiting = asyncio.create_task(process.receiver.be_ready())
            assert await asyncio.to_thread(reader.awaited.wait, 10)
        process.flow()
        async with asyncio.timeout(10):
            await waiting
        assert process.receiver.loop is asyncio.get_running_loop()
        await asyncio.gather(starting, return_exceptions=True)

    async def test_it_does_not_rest_for_another_loop(self, process):
        with another_loop() as other:
            await call(other, process.receiver.be_ready())
            await process.receiver.rest()
            assert process.receiver.loop is other
            await call(other, process.aclose())

    # Readers

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
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.to_thread(over.wait, 10)

        async def finish():
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            async with asyncio.timeout(10):
                await asyncio.gather(*rest, return_exceptions=True)

        begun, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=ends.run_forever)
        thread.start()
        staying = asyncio.run_coroutine_threadsafe(stay(), ends)
        try:
            # To cancel it before it begins would reach the loop after the question that is tested.
            assert await asyncio.to_thread(begun.wait, 10)
            with another_loop() as other:
                await call(other, process.receiver.be_ready())
                staying.cancel()
            await until(lambda: process.receiver.loop is here)
        finally:
            over.set()
            await call(ends, finish())
            ends.call_soon_threadsafe(ends.stop)
            thread.join(10)
            ends.close()
