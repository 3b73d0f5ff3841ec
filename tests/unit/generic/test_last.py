"""Whatever fails at the end of a connection, or its beginning, ``disconnect()`` is called once."""

import asyncio

import pytest

from channels.exceptions import BrokerUnavailable, StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.layers.redis.connection import commands
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from tests.asgi import Server, until
from tests.brokers import Broker, find_servers, unavailable


class Layer(InMemoryChannelLayer):
    """Fails to do what it is told to fail to do, and notes what it did."""

    def __init__(self, failing=(), error=OSError):
        super().__init__()
        self.failing, self.error, self.asked = failing, error, []

    async def group_add(self, group, channel):
        await self._do("add", group)
        await super().group_add(group, channel)

    async def group_discard(self, group, channel):
        await self._do("discard", group)
        await super().group_discard(group, channel)

    async def _do(self, verb, group):
        self.asked.append((verb, group))
        if (verb, group) in self.failing:
            raise self.error(f"cannot {verb} {group}")


@pytest.fixture
def layer():
    """Puts a layer that fails as told in the place of the default one."""
    old = channel_layers.backends.get("default")

    def use(*failing, error=OSError):
        made = Layer(failing, error)
        channel_layers.set("default", made)
        return made

    yield use
    channel_layers.set("default", old)


class AsyncOne(AsyncWebsocketConsumer):
    groups = ["one", "two"]
    codes: list

    async def disconnect(self, code):
        self.codes.append(code)


class SyncOne(WebsocketConsumer):
    groups = ["one", "two"]
    codes: list

    def disconnect(self, code):
        self.codes.append(code)


@pytest.fixture(params=[AsyncOne, SyncOne])
def one(request):
    return type("One", (request.param,), {"codes": []})


def overriding(one, before=None, after=None):
    """A subclass with a ``websocket_disconnect`` of its own."""
    if issubclass(one, AsyncOne):

        async def websocket_disconnect(self, message):
            if before is not None:
                before(self)
            await super(overridden, self).websocket_disconnect(message)

        async def disconnect(self, code):
            await super(overridden, self).disconnect(code)
            if after is not None:
                after(self)
    else:

        def websocket_disconnect(self, message):
            if before is not None:
                before(self)
            super(overridden, self).websocket_disconnect(message)

        def disconnect(self, code):
            super(overridden, self).disconnect(code)
            if after is not None:
                after(self)

    namespace = {"websocket_disconnect": websocket_disconnect, "disconnect": disconnect}
    overridden = type("Overriding", (one,), namespace)
    return overridden


def fail(self):
    raise LookupError("before or after")


def stop(self):
    raise StopConsumer


async def test_a_group_cannot_be_left(one, layer, caplog):
    made = layer(("discard", "one"))
    server = await Server(one.as_asgi()).connect()
    await server.leave(4000)
    assert one.codes == [4000]
    assert made.asked[2:] == [("discard", "one"), ("discard", "two")]
    assert made.groups == {}
    [record] = caplog.records
    assert str(record.exc_info[1]) == "cannot discard one"


async def test_where_the_broker_is_down_one_group_is_enough_to_find_out(one, layer, caplog):
    made = layer(("discard", "one"), error=BrokerUnavailable)
    server = await Server(one.as_asgi()).connect()
    await server.leave(4000)
    assert one.codes == [4000]
    assert made.asked[2:] == [("discard", "one")]
    [record] = caplog.records
    assert "BrokerUnavailable: cannot discard one" in record.message


async def test_the_server_goes_and_a_group_cannot_be_left(one, layer):
    layer(("discard", "two"))
    server = await Server(one.as_asgi()).connect()
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.ended()
    assert one.codes == [1012]


async def test_a_group_cannot_be_joined(one, layer, caplog):
    """What was joined is left, and what was not is not asked for."""
    made = layer(("add", "two"), ("discard", "two"))
    server = await Server(one.as_asgi()).connect()
    assert server.types() == ["websocket.close"]
    await server.leave(1006)
    assert one.codes == [1011]
    assert made.asked == [("add", "one"), ("add", "two"), ("discard", "one")]
    assert len(caplog.records) == 1


async def test_an_overridden_handler_fails_before_it_calls_the_frameworks(one, layer, caplog):
    layer()
    server = await Server(overriding(one, before=fail).as_asgi()).connect()
    await server.leave(4000)
    assert one.codes == [4000]
    [record] = caplog.records
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize(("after", "note"), [(fail, True), (stop, False)])
async def test_the_first_failure_is_told_with_the_second(one, layer, caplog, after, note):
    layer(("discard", "one"))
    server = await Server(overriding(one, after=after).as_asgi()).connect()
    await server.leave(4000)
    assert one.codes == [4000]
    [record] = caplog.records
    assert str(record.exc_info[1]) == "cannot discard one"
    notes = getattr(record.exc_info[1], "__notes__", [])
    assert notes == (["Then disconnect() raised LookupError('before or after')"] if note else [])


async def test_an_overridden_handler_calls_disconnect_itself_and_fails(layer, caplog):
    layer()

    class One(AsyncOne):
        codes = []

        async def websocket_disconnect(self, message):
            await self.disconnect(message["code"])
            raise LookupError("after")

    server = await Server(One.as_asgi()).connect()
    await server.leave(4000)
    assert One.codes == [4000]
    assert len(caplog.records) == 1


async def test_an_overridden_handler_that_needs_no_disconnect(layer):
    layer()

    class One(AsyncOne):
        codes = []

        async def websocket_disconnect(self, message):
            raise StopConsumer

    server = await Server(One.as_asgi()).connect()
    await server.leave(4000)
    assert One.codes == []


async def test_a_method_of_the_instance_stays_its_own(layer):
    layer(("discard", "one"))
    seen = []

    class One(AsyncOne):
        codes = []

        async def connect(self):
            async def mine(code):
                seen.append((self, code))

            self.disconnect = self.mine = mine
            await self.accept()

    server = await Server(One.as_asgi()).connect()
    await server.leave(4000)
    [(consumer, code)] = seen
    assert code == 4000
    assert consumer.disconnect is consumer.mine


async def test_cancelled_while_a_group_is_left(layer):
    """The server cuts short what takes too long: the cancellation is no reason to skip it."""
    leaving = asyncio.Event()

    class Slow(Layer):
        async def group_discard(self, group, channel):
            leaving.set()
            await asyncio.sleep(60)

    layer()
    channel_layers.set("default", Slow())

    class One(AsyncOne):
        codes = []

    server = await Server(One.as_asgi()).connect()
    server.put("websocket.disconnect", code=1012)
    await leaving.wait()
    server.task.cancel()
    await until(server.task.done)
    assert One.codes == [1012]


async def test_a_request(layer):
    layer()
    log = []

    class One(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, b"")

        async def http_disconnect(self, message):
            raise LookupError("before")

        async def disconnect(self):
            log.append("disconnect")

    server = Server(One.as_asgi(), "http", method="GET").start()
    server.put("http.request")
    server.put("http.disconnect")
    await server.ended()
    assert log == ["disconnect"]


@pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
async def test_the_broker_is_down(one, layer, layer_class, monkeypatch, caplog):
    monkeypatch.setitem(commands.CommandConnection.__init__.__kwdefaults__, "patience", 0.5)
    servers = find_servers()
    if "valkey" not in servers:
        unavailable("Valkey")
    broker = Broker(servers["valkey"]).start()
    layer()
    real = layer_class(hosts=[broker.url])
    channel_layers.set("default", real)
    try:
        server = await Server(one.as_asgi()).connect()
        assert server.types() == ["websocket.accept"]
        broker.stop()
        server.put("websocket.disconnect", code=4000)
        await until(server.task.done, 30)
        assert one.codes == [4000]
        lines = [record for record in caplog.records if record.name == "channels.consumer"]
        assert len(lines) <= 1  # leaving need not ask the broker
    finally:
        await real.aclose()
        broker.stop()
