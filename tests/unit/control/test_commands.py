"""Publishing from coroutines, threads and whatever runs, and asking all processes."""

import asyncio
import logging

import pytest

from channels import control
from channels.control import commands
from channels.control.plane import planes
from channels.exceptions import EventLoopRunning
from channels.layers import InMemoryChannelLayer, channel_layers
from tests.asgi import until


@pytest.fixture
def no_layer(settings):
    settings.CHANNEL_LAYERS = {}


async def heard(elsewhere):
    return await asyncio.wait_for(elsewhere.heard.get(), 5)


async def test_here_and_elsewhere_from_a_coroutine(listening, elsewhere, calls):
    await control.apublish("note", number=1)
    message = await heard(elsewhere)
    assert (message["command"], message["data"]) == ("note", {"number": 1})
    await until(lambda: calls == [{"number": 1}])
    await control.apublish("note", number=2)
    await heard(elsewhere)
    await until(lambda: len(calls) == 2)  # once each, not by way of the broker too


async def test_from_a_thread(listening, elsewhere, calls):
    await asyncio.to_thread(control.publish, "note", number=1)
    assert (await heard(elsewhere))["data"] == {"number": 1}
    await until(lambda: calls == [{"number": 1}])


async def test_in_this_process_without_a_layer(no_layer, plane, calls):
    await control.apublish("note", number=1)
    await asyncio.to_thread(control.publish, "note", number=2)
    commands.publish_soon("note", number=3)
    await until(lambda: [call["number"] for call in calls] == [1, 2, 3])


async def test_not_in_a_thread_that_runs_an_event_loop(calls):
    with pytest.raises(EventLoopRunning, match=r"await control\.apublish"):
        control.publish("note")
    with pytest.raises(EventLoopRunning, match=r"await control\.aask"):
        control.ask("note")


async def test_soon_waits_for_nothing(listening, elsewhere, calls):
    commands.publish_soon("note", number=1)
    assert calls == []
    assert (await heard(elsewhere))["data"] == {"number": 1}


class Failing(InMemoryChannelLayer):
    supports_processes = True
    failures = 0

    async def group_send(self, group, message):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no broker")
        await super().group_send(group, message)


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr(commands, "_PAUSES", (0.01, 0.01))
    layer = Failing()
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)


async def test_soon_tries_again(failing, elsewhere_in_memory, caplog):
    failing.failures = 2
    commands.publish_soon("note", number=1)
    await asyncio.wait_for(failing.receive(elsewhere_in_memory), 5)
    assert "The command note does not reach other processes (ConnectionError" in caplog.text
    assert "given up" not in caplog.text


async def test_soon_gives_up_in_the_end(failing, caplog):
    failing.failures = 9
    with caplog.at_level(logging.WARNING, "channels.control"):
        commands.publish_soon("note", number=1)
        await until(lambda: "no broker); given up" in caplog.text)


@pytest.fixture
async def elsewhere_in_memory(failing):
    channel = await failing.new_channel()
    await failing.group_add(commands.control_group(), channel)
    return channel


class TestAsk:
    async def test_all_processes_answer(self, listening, elsewhere, calls):
        asking = asyncio.create_task(control.aask("note", 0.5, answer="here"))
        message = await heard(elsewhere)
        await elsewhere.layer.send(message["reply"], {"type": "of.others"})
        await elsewhere.answer(message, "there")
        answers = {(found["process"], found["answer"]) for found in await asking}
        assert answers == {(control.process_name(), "here"), ("elsewhere", "there")}

    async def test_from_a_thread_and_a_passing_event_loop(self, listening, calls):
        from asgiref.sync import async_to_sync

        def in_thread():
            return async_to_sync(control.aask)("note", 0.05, answer=2)

        assert (await asyncio.to_thread(control.ask, "note", 0.05, answer=1))[0]["answer"] == 1
        assert (await asyncio.to_thread(in_thread))[0]["answer"] == 2

    async def test_without_a_layer_it_waits_no_longer_than_for_this_process(
        self, no_layer, plane, calls
    ):
        answers = await control.aask("note", 30, answer=1)
        assert answers == [{"process": control.process_name(), "answer": 1}]

    async def test_one_that_takes_too_long_has_no_answer(self, no_layer, plane, calls):
        control.register("slow", lambda: asyncio.sleep(60))
        assert await control.aask("slow", 0.01) == []

    async def test_nobody_is_there(self, no_layer, calls):
        for loop, _ in planes.all():
            assert loop.is_closed() or not loop.is_running()
        assert await control.aask("note", 0.01) == []

    async def test_a_timeout_of_the_layer_is_not_taken_for_silence(self, failing, monkeypatch):
        async def group_send(group, message):
            raise TimeoutError("the broker")

        monkeypatch.setattr(failing, "group_send", group_send)
        with pytest.raises(TimeoutError, match="the broker"):
            await control.aask("note", 5)
