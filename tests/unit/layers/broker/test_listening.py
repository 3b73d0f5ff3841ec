"""Listening over connections that break: gaps, barriers, full mailboxes, other event loops."""

import asyncio
import logging

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable, ChannelFull
from channels.layers.broker import JOIN, NOTHING, TO_GROUP, entry, reconnecting, subscriber
from channels.layers.statistics import UNDECODABLE
from channels.testing.conformance.base import LayerHarness

from ....asgi import until
from .pushing import Hub, Refused, make_layer


class TestListener(LayerHarness):
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(reconnecting, "_BACKOFF_FIRST", 0.001)

    @pytest.fixture
    async def hub(self):
        return Hub()

    @pytest.fixture
    async def layer(self, hub):
        layer = make_layer(hub)
        yield layer
        await layer.aclose()

    def listener(self, layer):
        (listener,) = layer.transport.receiver.readers
        return listener

    async def member(self, layer, group="chat"):
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        return channel

    async def check_works(self, layer, channel, group="chat"):
        await layer.group_send(group, {"type": "hello"})
        assert await self.receive(layer, channel) == {"type": "hello"}

    async def break_for_a_while(self, hub, listener):
        hub.refuse = ConnectionError("down")
        hub.break_all()
        await until(lambda: not listener.up)
        waiting = asyncio.create_task(listener.wait_until_up())
        barrier = listener.barrier()
        await asyncio.sleep(0)
        hub.refuse = None
        await asyncio.gather(waiting, barrier)

    # Connections

    async def test_messages_come_to_channels_and_groups(self, hub, layer):
        channel = await self.member(layer)
        await self.check_works(layer, channel)
        await layer.send(channel, {"type": "direct"})
        assert await self.receive(layer, channel) == {"type": "direct"}
        await layer.group_discard("chat", channel)
        assert hub.registered == {layer.client_prefix: set()}

    async def test_a_broken_connection_is_made_again_and_consumers_are_told_once(self, hub, layer):
        channel, gaps = await self.member(layer), []
        mailbox = layer.open_mailbox(channel, lambda: None)
        listener = self.listener(layer)
        await self.break_for_a_while(hub, listener)
        gaps += [message for message in iter_mailbox(mailbox) if message["type"] == "layer.gap"]
        assert len(gaps) == 1
        assert "unplugged" in gaps[0]["reason"]
        await layer.group_send("chat", {"type": "hello"})
        await until(mailbox.qsize)

    async def test_who_waits_is_told_why_it_is_in_vain(self, hub, layer):
        hub.refuse = Refused("no entrance")
        with pytest.raises(BrokerError, match="The hub refused: no entrance"):
            await layer.new_channel()
        hub.refuse = None
        await layer.new_channel()

    async def test_an_error_of_channels_is_told_as_it_is(self, hub, layer):
        hub.refuse = ChannelFull("no room")
        with pytest.raises(ChannelFull):
            await layer.new_channel()
        hub.refuse = None
        await layer.new_channel()

    async def test_a_layer_that_is_closed_meanwhile(self, hub, layer):
        hub.refuse = ConnectionError("down")
        opening = asyncio.create_task(layer.new_channel())
        await until(lambda: layer.transport.receiver.readers)
        await asyncio.sleep(0)
        await layer.aclose()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await opening
        hub.refuse = None

    # Barriers

    async def test_a_barrier_comes_behind_what_was_sent(self, hub, layer):
        channel = await self.member(layer)
        mailbox = layer.open_mailbox(channel, lambda: None)
        for _ in range(3):
            await layer.group_send("chat", {"type": "hello"})
        await self.listener(layer).barrier()
        assert mailbox.qsize() == 3

    async def test_a_barrier_that_cannot_be_sent_holds_nobody_up(self, hub, layer):
        await self.member(layer)
        hub.registered.clear()
        hub.open.clear()
        barrier = self.listener(layer).barrier()
        await until(barrier.done)
        assert not len(self.listener(layer)._marks)
        hub.open[layer.client_prefix].append(asyncio.Queue())

    async def test_barriers_end_with_the_connection(self, hub, layer, monkeypatch):
        await self.member(layer)
        listener = self.listener(layer)

        async def lost(data):
            pass

        monkeypatch.setattr(listener, "echo", lost)
        barrier = listener.barrier()
        await asyncio.sleep(0)
        hub.break_all()
        await asyncio.wait_for(barrier, 5)
        await until(lambda: listener.up)

    async def test_an_old_mark_is_nothing(self, hub, layer):
        channel = await self.member(layer)
        hub.send(layer.client_prefix, NOTHING + b"77")
        await self.check_works(layer, channel)
        assert layer.statistics.dropped == {}

    # What comes

    async def test_rubbish_is_counted(self, hub, layer):
        channel = await self.member(layer)
        for rubbish in (b"?", b"g\xff x", JOIN + b"no;group x"):
            hub.send(layer.client_prefix, rubbish)
        await self.check_works(layer, channel)
        assert layer.statistics.dropped == {UNDECODABLE: 3}

    async def test_what_cannot_be_handed_on_stops_nothing(self, hub, layer, caplog, monkeypatch):
        channel = await self.member(layer)

        def fail(*args):
            raise RuntimeError("a bug")

        with monkeypatch.context() as patched:
            patched.setattr(layer, "deliver_to_group", fail)
            await layer.group_send("chat", {"type": "lost"})
            await self.listener(layer).barrier()
        await self.check_works(layer, channel)
        assert "A message could not be handed on" in caplog.text

    async def test_a_full_mailbox_is_waited_for(self, hub):
        layer = make_layer(hub, capacity=2)
        channel = await self.member(layer)
        mailbox = layer.open_mailbox(channel, lambda: None)
        listener = self.listener(layer)
        listener._backpressure.note_delay(5.0)
        for n in range(6):
            hub.send(
                layer.client_prefix, entry(TO_GROUP, "chat", layer.serialize({"type": "n", "n": n}))
            )
        found = []

        def take():
            found.extend(iter_mailbox(mailbox))
            return len(found) == 6

        await until(take)
        assert [message["n"] for message in found] == list(range(6))
        listener.hurry()
        await layer.aclose()

    async def test_what_is_not_worth_waiting_for_is_not_waited_for(self, hub, layer, monkeypatch):
        channel = await self.member(layer)
        listener = self.listener(layer)
        with monkeypatch.context() as patched:
            patched.setattr(layer.transport, "received", lambda data, patience: "late")
            patched.setattr(listener._backpressure, "wait", lambda late, go_on: False)
            await layer.group_send("chat", {"type": "lost"})
            await listener.barrier()
        await self.check_works(layer, channel)

    # Other event loops, and the end

    async def test_it_rests_and_goes_on(self, hub, layer):
        await layer.new_channel()
        listener = self.listener(layer)
        assert await listener.wind_down()
        assert not listener.is_ready()
        assert hub.registered == {}
        await listener.be_ready()
        assert listener.is_ready()
        assert layer.client_prefix in hub.registered

    async def test_it_goes_on_when_it_could_not_wind_down(self, hub, layer, monkeypatch):
        monkeypatch.setattr(subscriber, "_LEAVING", 0.01)
        await layer.new_channel()
        listener = self.listener(layer)

        async def stand_still(entry=None):
            await asyncio.sleep(3600)

        monkeypatch.setattr(listener, "withdraw", stand_still)
        monkeypatch.setattr(listener, "echo", stand_still)
        assert not await listener.wind_down()
        monkeypatch.undo()
        await listener.be_ready()
        assert listener.is_ready()

    async def test_another_event_loop_takes_over_and_tells_of_the_gap(self, hub, layer, caplog):
        caplog.set_level(logging.WARNING)
        channel = await asyncio.to_thread(asyncio.run, self.member(layer))
        await layer.transport.ready()
        await self.check_works(layer, channel)
        assert "the event loop that received has ended" in caplog.text

    async def test_it_disconnects_in_peace_when_its_event_loop_ends(self, hub, layer):
        await asyncio.to_thread(asyncio.run, self.member(layer))
        assert hub.open[layer.client_prefix] == []
        assert layer.client_prefix not in hub.registered

    async def test_one_that_wound_down_leaves_no_gap(self, hub, layer, caplog):
        caplog.set_level(logging.WARNING)

        async def use():
            await layer.new_channel()
            await layer.transport.rest()

        await asyncio.to_thread(asyncio.run, use())
        await layer.new_channel()
        assert "ended" not in caplog.text

    async def test_an_abandoned_listener_hands_on_nothing(self, hub, layer):
        await self.member(layer)
        listener = self.listener(layer)
        listener._transport = None
        hub.send(layer.client_prefix, b"?")
        listener._gap = "nobody is told"
        await self.break_for_a_while(hub, listener)
        listener._transport = layer.transport
        assert layer.statistics.dropped == {}

    async def test_a_listener_of_a_closed_event_loop_is_abandoned(self, hub, layer):
        def use():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(layer.new_channel())
            loop.close()

        await asyncio.to_thread(use)
        await layer.new_channel()
        assert layer.transport.is_ready()
        await until(lambda: hub.left)

    async def test_one_that_never_started_can_be_let_go(self, hub, layer):
        (listener,) = layer.transport.make_readers()
        listener.resume_from(listener)
        listener._transport = None
        listener.resume_from(listener)
        listener.abandon()
        await listener.stop()
        with pytest.raises(BrokerUnavailable):
            await listener.wait_until_up()


def iter_mailbox(mailbox):
    while (message := mailbox.take()) is not None:
        yield message
