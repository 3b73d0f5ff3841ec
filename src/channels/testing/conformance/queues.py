"""One channel: first in, first out, each message to exactly one receiver, nothing twice."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio

from .base import Layer, LayerHarness, Message, check_equal

__all__ = ["QueueTests"]


def _numbered(count: int, sender: int = 0) -> list[Message]:
    return [{"type": "conformance.n", "sender": sender, "n": n} for n in range(count)]


class QueueTests(LayerHarness):
    """Sending to, and receiving from, named channels and process-local channels."""

    async def test_messages_arrive_once_and_in_order(self) -> None:
        async with self.layer() as layer:
            for channel in await _both_kinds(layer):
                for message in _numbered(50):
                    await layer.send(channel, message)
                received = await self.drain(layer, channel)
                check_equal(received, _numbered(50), "messages arrive once, in the order sent")

    async def test_a_waiting_receiver_gets_the_message(self) -> None:
        async with self.layer() as layer:
            for channel in await _both_kinds(layer):
                receiver = asyncio.create_task(self.receive(layer, channel))
                await _let_others_run()
                await layer.send(channel, {"type": "conformance.late"})
                check_equal(
                    await receiver,
                    {"type": "conformance.late"},
                    "a receiver that waits gets the message",
                )

    async def test_channels_are_separate(self) -> None:
        async with self.layer() as layer:
            channels = ["first", "second", await layer.new_channel(), await layer.new_channel()]
            for sender, channel in enumerate(channels):
                for message in _numbered(3, sender):
                    await layer.send(channel, message)
            for sender, channel in reversed(list(enumerate(channels))):
                received = await self.drain(layer, channel)
                check_equal(received, _numbered(3, sender), "a channel holds only its own messages")

    async def test_receivers_of_local_channels_get_only_their_own(self) -> None:
        async with self.layer() as layer:
            channels = [await layer.new_channel() for _ in range(5)]
            receivers = [
                asyncio.create_task(self.receive_many(layer, channel, 3)) for channel in channels
            ]
            await _let_others_run()
            for n in range(3):
                for sender, channel in enumerate(channels):
                    await layer.send(channel, _numbered(3, sender)[n])
            for sender, receiver in enumerate(receivers):
                check_equal(await receiver, _numbered(3, sender), "each receives only its own")

    async def test_concurrent_senders_each_keep_their_order(self) -> None:
        async with self.layer() as layer:

            async def send_all(sender: int) -> None:
                for message in _numbered(10, sender):
                    await layer.send("channel", message)
                    await asyncio.sleep(0)

            await asyncio.gather(*(send_all(sender) for sender in range(5)))
            received = await self.receive_many(layer, "channel", 50)
            check_equal(await self.drain(layer, "channel"), [], "nothing arrives twice")
            for sender in range(5):
                own = [message for message in received if message["sender"] == sender]
                check_equal(own, _numbered(10, sender), "each sender's order is kept")

    async def test_each_message_goes_to_one_of_several_receivers(self) -> None:
        async with self.layer() as layer:
            received: list[int] = []

            async def receive_forever() -> None:
                while True:
                    received.append((await layer.receive("channel"))["n"])

            receivers = [asyncio.create_task(receive_forever()) for _ in range(5)]
            try:
                await _let_others_run()
                for message in _numbered(50):
                    await layer.send("channel", message)
                promise = "every message reaches one of the receivers of a named channel"
                await self.eventually(lambda: len(received) >= 50, promise)
            finally:
                for receiver in receivers:
                    receiver.cancel()
                await asyncio.wait(receivers)
            check_equal(sorted(received), list(range(50)), "no message reaches two receivers")

    async def test_a_cancelled_receive_loses_nothing(self) -> None:
        """Whatever the moment: it moves on by turns of the loop, and then by 0.3 ms each time."""
        async with self.layer() as layer:
            for channel in await _both_kinds(layer):
                received: list[Message] = []
                for moment, message in enumerate(_numbered(24)):
                    receiver = asyncio.create_task(layer.receive(channel))
                    await _let_others_run()
                    await layer.send(channel, message)
                    if moment < 12:
                        await _let_others_run(moment)
                    else:
                        await asyncio.sleep((moment - 11) * 0.0003)
                    receiver.cancel()
                    await self.soon(asyncio.wait([receiver]), "a receive can be cancelled")
                    if not receiver.cancelled():
                        received.append(receiver.result())
                received += await self.drain(layer, channel)
                check_equal(received, _numbered(24), "a cancelled receive loses nothing")

    async def test_a_cancelled_receiver_takes_nothing_from_the_next(self) -> None:
        async with self.layer() as layer:
            for channel in await _both_kinds(layer):
                receiver = asyncio.create_task(layer.receive(channel))
                await _let_others_run()
                receiver.cancel()
                await self.soon(asyncio.wait([receiver]), "a receive can be cancelled")
                for message in _numbered(3):
                    await layer.send(channel, message)
                received = await self.drain(layer, channel)
                check_equal(
                    received, _numbered(3), "a receiver that stopped waiting takes no message"
                )

    async def test_a_cancelled_receiver_leaves_its_message_to_the_next(self) -> None:
        """Cancelled between the moment it was called up and the moment it would have taken it."""
        async with self.layer() as layer:
            for turns in range(5):
                first = asyncio.create_task(layer.receive("channel"))
                await _let_others_run()
                second = asyncio.create_task(self.receive(layer, "channel", "the next gets it"))
                await _let_others_run()
                await layer.send("channel", {"type": "conformance.first"})
                await _let_others_run(turns)
                first.cancel()
                await self.soon(asyncio.wait([first]), "a receive can be cancelled")
                if not first.cancelled():
                    await layer.send("channel", {"type": "conformance.first"})
                message = {"type": "conformance.first"}
                check_equal(await second, message, "the next in line gets what the first left")


async def _both_kinds(layer: Layer) -> list[str]:
    return ["named", await layer.new_channel()]


async def _let_others_run(turns: int = 5) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
