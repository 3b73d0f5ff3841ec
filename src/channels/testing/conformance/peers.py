"""Several processes on one broker. Skipped for a layer without ``make_peer``."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio

from .base import Layer, LayerHarness, check_equal

__all__ = ["PeerTests"]

_NEWS = {"type": "conformance.news"}


class PeerTests(LayerHarness):
    """What one process sends another receives, also after the broker was away."""

    async def test_a_peer_reaches_a_process_local_channel(self) -> None:
        async with self.pair() as (layer, peer):
            channel = await layer.new_channel()
            for n in range(20):
                await peer.send(channel, {"type": "conformance.n", "n": n})
            received = [message["n"] for message in await self.receive_many(layer, channel, 20)]
            check_equal(received, list(range(20)), "a peer's messages arrive in order")

    async def test_peers_make_different_channels(self) -> None:
        async with self.pair() as pair:
            names = [await layer.new_channel() for layer in pair for _ in range(100)]
            check_equal(len(set(names)), 200, "no two processes make the same channel")

    async def test_a_named_channel_is_shared(self) -> None:
        async with self.pair() as (layer, peer):
            for sender, receiver in ((layer, peer), (peer, layer)):
                await sender.send("channel", _NEWS)
                check_equal(await self.receive(receiver, "channel"), _NEWS, "a peer receives it")

    async def test_each_message_goes_to_one_of_several_processes(self) -> None:
        async with self.pair() as (layer, peer):
            received: list[int] = []

            async def receive_forever(own: Layer) -> None:
                while True:
                    received.append((await own.receive("channel"))["n"])

            receivers = [asyncio.create_task(receive_forever(own)) for own in (layer, peer)]
            try:
                for n in range(40):
                    await (layer, peer)[n % 2].send("channel", {"type": "conformance.n", "n": n})
                promise = "each message in a named channel is received by one of the processes"
                await self.eventually(lambda: len(received) >= 40, promise)
            finally:
                for receiver in receivers:
                    receiver.cancel()
                await asyncio.wait(receivers)
            check_equal(sorted(received), list(range(40)), "no message reaches two processes")

    async def test_a_group_spans_processes(self) -> None:
        async with self.pair("groups") as (layer, peer):
            members = [(own, await own.new_channel()) for own in (layer, peer, layer, peer)]
            for own, channel in members:
                await own.group_add("group", channel)
            for n in range(10):
                await peer.group_send("group", {"type": "conformance.n", "n": n})
            for own, channel in members:
                received = [message["n"] for message in await self.receive_many(own, channel, 10)]
                check_equal(received, list(range(10)), "members in all processes get all messages")

    async def test_who_left_gets_nothing_from_a_peer(self) -> None:
        async with self.pair("groups") as (layer, peer):
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            await layer.group_discard("group", channel)
            await peer.group_send("group", _NEWS)
            await peer.send(channel, {"type": "conformance.end"})
            received = await self.receive(layer, channel)
            check_equal(
                received,
                {"type": "conformance.end"},
                "a channel that left the group gets no more messages",
            )

    async def test_what_waits_in_a_named_channel_outlives_the_layer(self) -> None:
        async with self.pair("keeps_named_channels") as (layer, peer):
            async with self.peer_of(layer) as first:
                await first.send("channel", _NEWS)
            received = await self.receive(peer, "channel")
            check_equal(received, _NEWS, "a named channel keeps its messages for the next process")

    async def test_receivers_survive_a_restart_of_the_broker(self) -> None:
        async with self.pair() as (layer, peer):
            channel = await layer.new_channel()
            receiver = asyncio.create_task(layer.receive(channel))
            try:
                await asyncio.sleep(0)
                await self.restart_broker(layer)
                await self.soon(
                    self.send_until(receiver, peer, channel),
                    "after the broker has restarted, a receiver that waited gets messages again",
                )
                check_equal(receiver.result(), _NEWS, "messages are whole after a restart")
            finally:
                receiver.cancel()
                await asyncio.wait([receiver])

    async def send_until(self, receiver: asyncio.Task[object], peer: Layer, channel: str) -> None:
        """Send until ``receiver`` has a message. What a restart interrupts may be lost."""
        while not receiver.done():
            try:
                await peer.send(channel, _NEWS)
            except Exception:  # noqa: BLE001 - whatever client libraries raise meanwhile
                pause = 0.2
            else:
                pause = 0.05
            await asyncio.wait([receiver], timeout=pause)
