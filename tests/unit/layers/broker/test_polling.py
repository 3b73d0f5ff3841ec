"""Callers that wait for named channels: who gets what, and what those who give up give back."""

import asyncio
import contextlib
from collections import defaultdict, deque

import pytest

from channels.exceptions import BrokerUnavailable
from channels.layers.broker import Polling, polling

from ....asgi import until


class Queues:
    """Messages in memory, as a broker has them."""

    def __init__(self):
        self.messages = defaultdict(deque)
        self.looks = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.polling = Polling(self.ready, lambda: self, self.take, self.give_back)

    async def ready(self):
        pass

    def start(self, work):
        return asyncio.ensure_future(work)

    async def take(self, channel):
        self.looks += 1
        message = self.messages[channel].popleft() if self.messages[channel] else None
        await self.answers.wait()
        return message

    async def give_back(self, channel, message):
        await asyncio.sleep(0)
        self.messages[channel].appendleft(message)
        self.polling.look(channel)

    def send(self, channel, *messages):
        self.messages[channel].extend(messages)
        self.polling.look(channel)


class TestPolling:
    @pytest.fixture
    async def queues(self):
        return Queues()

    async def test_what_waits_is_received_in_order(self, queues):
        queues.send("jobs", 1, 2)
        found = [await queues.polling.receive("jobs") for _ in range(2)]
        assert found == [1, 2]
        assert not queues.polling

    async def test_a_caller_waits_for_news_of_its_channel(self, queues):
        receiver = asyncio.create_task(queues.polling.receive("jobs"))
        await until(lambda: queues.looks == 1)
        assert queues.polling
        queues.send("others", 1)
        queues.send("jobs", 2)
        assert await receiver == 2
        assert queues.looks == 2

    async def test_a_caller_looks_without_news_too(self, queues, monkeypatch):
        monkeypatch.setattr(polling, "_LOOK", 0.005)
        receiver = asyncio.create_task(queues.polling.receive("jobs"))
        await until(lambda: queues.looks == 1)
        queues.messages["jobs"].append(1)
        assert await receiver == 1

    async def test_what_was_taken_for_a_cancelled_caller_is_first_for_the_next(self, queues):
        queues.answers.clear()
        queues.send("jobs", 1, 2)
        first = asyncio.create_task(queues.polling.receive("jobs"))
        await until(lambda: queues.looks == 1)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(queues.polling.receive("jobs"))
        third = asyncio.create_task(queues.polling.receive("jobs"))
        queues.answers.set()
        assert await asyncio.gather(second, third) == [1, 2]
        assert not queues.polling._returns

    async def test_several_give_back_at_a_time(self, queues):
        queues.answers.clear()
        queues.send("jobs", 1, 2)
        receivers = [asyncio.create_task(queues.polling.receive("jobs")) for _ in range(2)]
        await until(lambda: queues.looks == 2)
        for receiver in receivers:
            receiver.cancel()
        await asyncio.wait(receivers)
        queues.answers.set()
        found = [await queues.polling.receive("jobs") for _ in range(2)]
        assert sorted(found) == [1, 2]

    async def test_nothing_is_given_back_where_nothing_was_taken(self, queues):
        queues.answers.clear()
        receiver = asyncio.create_task(queues.polling.receive("jobs"))
        await until(lambda: queues.looks == 1)
        receiver.cancel()
        await asyncio.wait([receiver])
        queues.answers.set()
        await until(lambda: not queues.polling._returns)
        assert not queues.messages["jobs"]

    async def test_news_for_an_event_loop_that_was_closed_are_ignored(self, queues):
        def wait_for_ever():
            loop = asyncio.new_event_loop()
            waiting = loop.create_task(queues.polling.receive("jobs"))
            with contextlib.suppress(TimeoutError):
                loop.run_until_complete(asyncio.wait_for(asyncio.shield(waiting), 0.01))
            loop.close()
            return waiting

        waiting = await asyncio.to_thread(wait_for_ever)
        queues.polling.look()
        assert queues.polling
        waiting.get_coro().close()
        waiting._log_destroy_pending = False

    async def test_who_waits_is_told_that_the_layer_was_closed(self, queues):
        receivers = [asyncio.create_task(queues.polling.receive(name)) for name in ("a", "a", "b")]
        await until(lambda: queues.looks == 3)
        queues.polling.close()
        found = await asyncio.gather(*receivers, return_exceptions=True)
        assert {type(error) for error in found} == {BrokerUnavailable}
        queues.send("a", 1)
        assert await queues.polling.receive("a") == 1
