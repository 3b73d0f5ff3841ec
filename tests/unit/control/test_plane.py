"""How an event loop hears what other processes publish."""

import asyncio
import contextlib
import logging

import pytest

from channels import signals
from channels._runtime.connections import connections
from channels._runtime.draining import Plan
from channels.control import plane as module
from channels.control import process_name
from channels.control.plane import control_group, control_layer, planes, start
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.layers.redis import RedisChannelLayer
from channels.routing import ProtocolTypeRouter
from channels.testing import WebsocketCommunicator
from tests.asgi import Server, until


async def test_what_another_process_publishes_is_handled(listening, elsewhere, calls):
    await elsewhere.publish("note", number=1)
    await until(lambda: calls == [{"number": 1}])


async def test_an_answer_goes_where_the_command_wants_it(listening, elsewhere, calls):
    await elsewhere.publish("note", reply=elsewhere.channel, answer="mine")
    heard = [await asyncio.wait_for(elsewhere.heard.get(), 5) for _ in range(2)]
    [answer] = [message for message in heard if message["type"] == module.ANSWER]
    assert (answer["process"], answer["answer"]) == (process_name(), "mine")


async def test_an_answer_that_cannot_be_sent_is_logged(listening, elsewhere, calls, caplog):
    with caplog.at_level(logging.WARNING, "channels.control"):
        await elsewhere.publish("note", reply="no channel!", answer=1)
        await until(lambda: "An answer to the command note was not sent" in caplog.text)


async def test_no_answer_is_sent_when_the_layer_is_gone_meanwhile(listening, calls):
    channel_layers.set("default", InMemoryChannelLayer())
    listening.handle("note", {"answer": 1}, reply="somebody")
    await until(lambda: calls)


async def test_it_begins_with_the_first_connection_and_ends_when_the_process_is_told_to(layer):
    server = await Server(AsyncWebsocketConsumer.as_asgi()).connect()
    plane = planes.get()
    await asyncio.wait_for(plane.listens.wait(), 5)
    signals.server_draining.send_robust(None, connections=1, plan=Plan())
    await until(lambda: planes.get()._listening is None)
    await server.leave()
    assert connections.get().open == set()
    assert not plane.listens.is_set()
    assert not [key async for key in _members(layer)]


async def _members(layer):
    """The processes that the broker knows in the group."""
    async with layer.connection(0) as redis:
        async for key in redis.scan_iter(match=f"*{control_group()}*"):
            yield key


def test_to_watch_again_changes_nothing():
    module.watch()
    assert module.when_first.count(start) == 1


async def test_a_communicator_starts_nothing(layer):
    socket = WebsocketCommunicator(AsyncWebsocketConsumer.as_asgi(), "/ws/")
    assert (await socket.connect())[0]
    assert planes.peek() is None
    signals.server_draining.send_robust(None, connections=1, plan=Plan())
    await socket.disconnect()


async def test_the_end_of_a_worker_ends_it_unless_connections_are_served(layer):
    signals.worker_stopping.send_robust(None, worker=None)
    assert planes.peek() is None, "none has begun"
    server = await Server(AsyncWebsocketConsumer.as_asgi()).connect()
    plane = planes.get()
    plane.start()  # again, which changes nothing
    listening = plane._listening
    signals.worker_stopping.send_robust(None, worker=None)
    await asyncio.sleep(0)
    assert plane._listening is listening
    await server.leave()
    signals.worker_stopping.send_robust(None, worker=None)
    await until(lambda: plane._listening is None)


async def test_a_server_listens_before_its_first_connection_and_until_it_stops(layer):
    async with serving(ProtocolTypeRouter({})):
        plane = planes.get()
        await asyncio.wait_for(plane.listens.wait(), 5)
    await until(lambda: plane._listening is None)
    assert not plane.listens.is_set()


@contextlib.asynccontextmanager
async def serving(application):
    """The lifespan of a server."""
    server = Server(application, "lifespan")
    server.put("lifespan.startup")
    server.start()
    await until(lambda: server.types() == ["lifespan.startup.complete"])
    yield
    server.put("lifespan.shutdown")
    await server.ended()


async def test_a_worker_listens_too(layer, calls):
    signals.worker_started.send_robust(None, worker=None)
    await asyncio.wait_for(planes.get().listens.wait(), 5)
    planes.get().stop()
    await until(lambda: planes.get()._listening is None)


async def test_nothing_runs_where_commands_stay_in_the_process():
    former = channel_layers.set("default", InMemoryChannelLayer())
    start()
    planes.get().stop()
    assert planes.get()._listening is None
    channel_layers.set("default", former)


async def test_a_layer_that_cannot_be_made_is_told_by_the_connections(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    start()
    assert planes.get()._listening is None


class TestWhichLayer:
    def test_none_without_a_setting(self, settings):
        settings.CHANNEL_LAYERS = {}
        assert control_layer() is None

    def test_the_first_where_none_is_called_default(self, settings, layer_classes):
        settings.CHANNEL_LAYERS = {
            "other": {"BACKEND": f"{__name__}.Groups"},
            "more": {"BACKEND": f"{__name__}.NoGroups"},
        }
        assert control_layer()._layer.__class__ is Groups

    def test_none_that_has_no_groups(self, settings, layer_classes):
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.NoGroups"}}
        assert control_layer() is None

    @pytest.fixture
    def layer_classes(self):
        yield
        channel_layers.backends.clear()


class NoGroups:
    """A layer of others."""


class Groups:
    extensions = ("groups",)


class Failing(InMemoryChannelLayer):
    """Reaches other processes, it says; sometimes it cannot be joined."""

    supports_processes = True
    failures = 0

    async def group_add(self, group, channel):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no broker")
        await super().group_add(group, channel)


@pytest.fixture
def failing():
    layer = Failing(capacity=3)
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)


async def test_it_listens_again_and_tells_of_what_it_may_have_missed(failing, calls, caplog):
    failing.failures = 2
    with caplog.at_level(logging.WARNING, "channels.control"):
        start()
        await until(lambda: calls)
    assert "Commands of other processes are not heard (ConnectionError: no broker)" in caplog.text
    [gap] = calls
    assert gap["reason"] == "this process could not listen for a while"
    planes.get().stop()


async def test_a_gap_of_the_layer_is_handed_on(failing, calls):
    start()
    await asyncio.wait_for(planes.get().listens.wait(), 5)
    for number in range(5):
        command = {"type": module.COMMAND, "command": "note", "data": {"number": number}}
        await failing.group_send(control_group(), {**command, "origin": "elsewhere", "reply": None})
    await until(lambda: len(calls) == 4)
    assert any("reason" in call for call in calls)
    planes.get().stop()


async def test_what_is_no_command_is_ignored(failing, calls):
    start()
    await asyncio.wait_for(planes.get().listens.wait(), 5)
    await failing.group_send(control_group(), {"type": "chat.message"})
    command = {"type": module.COMMAND, "command": "note", "data": {}, "reply": None}
    await failing.group_send(control_group(), {**command, "origin": process_name()})
    await failing.group_send(control_group(), {**command, "origin": "elsewhere"})
    await until(lambda: calls == [{}])
    planes.get().stop()


async def test_too_many_commands_for_a_layer_that_gives_up_its_readers(calls, caplog):
    layer = Failing(capacity=1, overflow="disconnect")
    former = channel_layers.set("default", layer)
    start()
    await asyncio.wait_for(planes.get().listens.wait(), 5)
    command = {"type": module.COMMAND, "command": "note", "data": {}, "reply": None}
    for _ in range(2):
        await layer.group_send(control_group(), {**command, "origin": "elsewhere"})
    await until(lambda: any("reason" in call for call in calls))
    assert "more commands came than the channel holds" in caplog.text
    planes.get().stop()
    channel_layers.set("default", former)


async def test_it_joins_again_now_and_then_for_layers_that_let_members_expire(
    failing, calls, monkeypatch
):
    monkeypatch.setattr(module, "_JOIN_AGAIN", 0.01)
    start()
    await asyncio.wait_for(planes.get().listens.wait(), 5)
    failing.groups.clear()
    await until(lambda: control_group() in failing.groups)
    planes.get().stop()


async def test_it_ends_when_the_setting_has_changed(failing, calls):
    start()
    failing.failures = 1
    channel_layers.set("default", InMemoryChannelLayer())
    await until(lambda: planes.get()._listening is None)


def test_nothing_is_left_when_the_event_loop_ends(control_broker, prefix):
    layer = RedisChannelLayer(hosts=[control_broker.url], prefix=prefix)
    former = channel_layers.set("default", layer)

    async def serve():
        start()
        await asyncio.wait_for(planes.get().listens.wait(), 5)

    asyncio.run(serve())
    channel_layers.set("default", former)
    with control_broker.client() as redis:
        assert not redis.keys(f"*{control_group()}*")


def test_without_the_secret_key_nobody_knows_the_name_of_the_group(settings):
    found = set()
    for settings.SECRET_KEY in ("one", "other", ""):
        found.add(control_group())
        assert control_group() == control_group()
        InMemoryChannelLayer().require_valid_group_name(control_group())
    assert len(found) == 3


async def test_without_a_layer_that_reaches_others_nothing_listens():
    former = channel_layers.set("default", InMemoryChannelLayer())
    try:
        start()
        assert not planes.get().listens.is_set()
        assert planes.get()._listening is None
    finally:
        planes.pop()
        channel_layers.set("default", former)


async def test_a_process_that_has_served_nobody_has_nothing_to_end():
    planes.pop()
    signals.server_draining.send(sender=None, plan=None)
    assert planes.peek() is None
