"""Transports whose broker pushes: memberships, invitations and rubbish, over lists in memory."""

import asyncio
import contextlib
import threading

import pytest

from channels.layers.broker import JOIN, NOTHING, TO_CHANNEL, Broadcasting, BrokerLayer
from channels.layers.statistics import UNDECODABLE
from channels.testing.conformance.base import LayerHarness

from ....asgi import until


class Listener:
    """Hears what is published on the event loop on which it was made."""

    def __init__(self, transport):
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.calls = []

    def start(self):
        self.transport.broker.append(self)

    def is_ready(self):
        return True

    async def be_ready(self):
        pass

    def resume_from(self, former):
        pass

    async def wind_down(self):
        return True

    def abandon(self):
        if self in self.transport.broker:
            self.transport.broker.remove(self)

    async def stop(self):
        self.abandon()

    def barrier(self):
        self.calls.append("barrier")
        done = self.loop.create_future()
        done.set_result(None)
        return done

    def hurry(self):
        self.calls.append("hurry")


class Transport(Broadcasting):
    """Publishes by calling every process of the broker, which is a list."""

    def __init__(self, recipient, broker):
        super().__init__(recipient)
        self.broker, self.deleted, self.groups = broker, 0, set()

    def make_readers(self):
        return [Listener(self)]

    def subscribe(self, group):
        self.groups.add(group)
        return self.receiver.readers[0].barrier()

    def unsubscribe(self, group):
        self.groups.discard(group)

    def reader_of(self, group):
        return self.receiver.readers[0]

    async def tell(self, process, kind, group, channel):
        for listener in self.broker:
            if listener.transport._process == process:
                listener.transport.received(
                    b"%b%b %b" % (kind, group.encode(), channel.encode()), 0.0
                )

    async def send_to_process(self, process, channel, data):
        for listener in self.broker:
            if listener.transport._process == process:
                listener.transport.received(b"%b%b %b" % (TO_CHANNEL, channel.encode(), data), 0.0)

    async def group_send(self, group, data, capacity, expiry):
        for listener in self.broker:
            if group in listener.transport.groups:
                listener.transport._recipient.deliver_to_group(group, data)
        return ()

    async def delete_all(self):
        self.deleted += 1

    async def close_connections(self):
        pass

    def connected_loops(self):
        return set()


@contextlib.contextmanager
def running_loop():
    """Another event loop, which runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class TestBroadcasting(LayerHarness):
    @pytest.fixture
    async def pair(self):
        broker = []
        layers = [BrokerLayer(lambda recipient: Transport(recipient, broker)) for _ in "ab"]
        yield layers
        for layer in layers:
            await layer.aclose()

    async def test_channels_of_this_process_join_and_leave(self, pair):
        layer, other = pair
        channel = await layer.new_channel()
        await layer.group_add("chat", channel)
        await other.group_send("chat", {"type": "hello"})
        assert await self.receive(layer, channel) == {"type": "hello"}
        await layer.group_discard("chat", channel)
        assert layer.transport.groups == set()
        await layer.group_discard("chat", channel)  # is no error
        await layer.send(channel, {"type": "end"})
        assert await self.receive(layer, channel) == {"type": "end"}

    async def test_channels_of_another_process_are_invited_and_dismissed(self, pair):
        layer, other = pair
        channel = await other.new_channel()
        await layer.group_add("chat", channel)
        await until(lambda: other.transport.groups == {"chat"})
        await layer.group_discard("chat", channel)
        await until(lambda: other.transport.groups == set())

    async def test_what_is_meant_for_another_process_changes_nothing(self, pair):
        layer, other = pair
        await layer.new_channel()
        channel = await other.new_channel()
        layer.transport.received(JOIN + b"chat " + channel.encode(), 0.0)
        assert layer.transport.groups == set()

    @pytest.mark.parametrize("rubbish", [b"", b"x", b"?chat a", b"jno;group a", b"j\xff a"])
    async def test_rubbish_is_refused(self, pair, rubbish):
        transport = pair[0].transport
        with pytest.raises((UnicodeDecodeError, TypeError, ValueError)):
            transport.received(rubbish, 0.0)
        transport.drop_rubbish()
        assert pair[0].statistics.dropped == {UNDECODABLE: 1}

    async def test_nothing_is_ignored(self, pair):
        assert pair[0].transport.received(NOTHING, 0.0) is None
        assert pair[0].statistics.dropped == {}

    async def test_a_flush_hands_on_what_has_come_first(self, pair):
        layer, _ = pair
        channel = await layer.new_channel()
        await layer.group_add("chat", channel)
        (listener,) = layer.transport.receiver.readers
        await layer.flush()
        assert listener.calls[-2:] == ["hurry", "barrier"]
        assert (layer.transport.groups, layer.transport.deleted) == (set(), 1)

    async def test_while_another_event_loop_receives(self, pair):
        layer, _ = pair
        with running_loop() as loop:

            def there(coroutine):
                return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

            channel = await there(layer.new_channel())
            await layer.transport._join("chat", channel)  # as if it had just begun to receive
            assert layer.transport.groups == {"chat"}
            await layer.transport._aclose()  # what belongs to this event loop, which is nothing
            assert layer.transport.receiver.loop is loop
            await there(layer.aclose())
        assert layer.transport.groups == set()

    async def test_a_flush_where_nobody_receives_deletes_too(self, pair):
        await pair[0].flush()
        assert pair[0].transport.deleted == 1
