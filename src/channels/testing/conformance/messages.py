"""What travels: values arrive as they were sent, and nobody shares them."""

# ruff: noqa: D102 (the name of a test says what it checks)

import copy
import threading
from typing import Any

from .base import Layer, LayerHarness, Message, check, check_equal, refused

__all__ = ["MessageTests"]

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63 - 1,
    -(2**63),
    0.0,
    -1.5,
    1e300,
    0.1,
    "",
    "text",
    "\u017elu\u0165ou\u010dk\u00fd k\u016f\u0148 \U0001f40e",
    "nul \x00 and line\nbreak",
    [],
    {},
    [1, [2, [3, {"deep": [None, {"deeper": True}]}]]],
    {"key": "value", "": "empty key", "with space": {"nested": [1, 2]}},
]
BYTES: list[Any] = [b"", b"bytes", bytes(range(256)), {"nested": [b"\xff\x00"]}]

# Values at the edge of what formats can express: to refuse them is fine, to alter them is not.
EDGES: list[Any] = [2**64 - 1, 2**64, -(2**63) - 1, 10**100, float("inf"), "lone \ud800"]

_REFUSALS = (TypeError, ValueError)


class _Unknown:
    """A type that no layer knows."""


class MessageTests(LayerHarness):
    """Messages arrive unaltered, belong to their receiver, and are refused early if they can't.

    A layer refuses with ``TypeError`` or ``ValueError`` (``SerializationError`` is both).
    """

    async def test_values_arrive_unaltered(self) -> None:
        async with self.layer() as layer:
            for value in VALUES:
                await self.check_round_trip(layer, value)

    async def test_bytes_arrive_unaltered(self) -> None:
        async with self.layer("carries_bytes") as layer:
            for value in BYTES:
                await self.check_round_trip(layer, value)

    async def test_values_at_the_edge_arrive_unaltered_or_are_refused(self) -> None:
        async with self.layer() as layer:
            for value in EDGES:
                message = {"type": "conformance.value", "value": value}
                try:
                    await layer.send("channel", message)
                except _REFUSALS:
                    continue
                received = await self.receive(layer, "channel")
                check_equal(received, message, f"{value!r:.40} is not altered")

    async def test_large_messages_arrive(self) -> None:
        async with self.layer() as layer:
            await self.check_round_trip(layer, "x" * 2**20)

    async def test_large_binary_messages_arrive(self) -> None:
        async with self.layer("carries_bytes") as layer:
            await self.check_round_trip(layer, bytes(range(256)) * 2**12)

    async def test_what_is_no_dict_is_refused(self) -> None:
        async with self.layer() as layer:
            for message in (None, "text", b"bytes", 7, ["type"], ("type", "x"), _Unknown()):
                promise = f"send refuses {message!r:.40}, which is no dict"
                await refused(promise, _REFUSALS, layer.send, "channel", message)
            check_equal(await self.drain(layer, "channel"), [], "what was refused is not sent")

    async def test_what_cannot_be_encoded_is_refused_by_send(self) -> None:
        async with self.layer() as layer:
            for value in self.unencodable():
                message = {"type": "conformance.value", "value": value}
                promise = f"send refuses {value!r:.40}, which cannot be encoded"
                await refused(promise, _REFUSALS, layer.send, "channel", message)
            check_equal(await self.drain(layer, "channel"), [], "what was refused is not sent")

    async def test_what_cannot_be_encoded_is_refused_by_group_send(self) -> None:
        async with self.layer("groups") as layer:
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            for value in self.unencodable():
                message = {"type": "conformance.value", "value": value}
                for bad in (message, value):
                    promise = f"group_send refuses {value!r:.40}, which cannot be encoded"
                    await refused(promise, _REFUSALS, layer.group_send, "group", bad)
            check_equal(await self.drain(layer, channel), [], "what was refused is not sent")

    async def test_sending_does_not_change_the_message(self) -> None:
        async with self.layer("groups") as layer:
            channel = await layer.new_channel()
            message, original = _nested(), _nested()
            await layer.group_add("group", channel)
            await layer.send(channel, message)
            await layer.group_send("group", message)
            check_equal(message, original, "the sender's message stays as it was")

    async def test_senders_do_not_share_their_message(self) -> None:
        async with self.layer() as layer:
            message, original = _nested(), _nested()
            await layer.send("channel", message)
            _scribble_on(message)
            received = await self.receive(layer, "channel")
            check_equal(received, original, "a change after send() reaches no recipient")

    async def test_senders_to_groups_do_not_share_their_message(self) -> None:
        async with self.layer("groups") as layer:
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            message, original = _nested(), _nested()
            await layer.group_send("group", message)
            _scribble_on(message)
            received = await self.receive(layer, channel)
            check_equal(received, original, "a change after group_send() reaches no recipient")

    async def test_recipients_do_not_share_their_message(self) -> None:
        async with self.layer("groups") as layer:
            channels = [await layer.new_channel() for _ in range(3)]
            for channel in channels:
                await layer.group_add("group", channel)
            await layer.group_send("group", _nested())
            for channel in channels:
                received = await self.receive(layer, channel)
                check_equal(received, _nested(), "a recipient's change reaches no other recipient")
                check(isinstance(received, dict), "a message is received as a dict")
                _scribble_on(received)

    async def test_a_message_sent_twice_is_two_messages(self) -> None:
        async with self.layer() as layer:
            message = _nested()
            await layer.send("channel", message)
            await layer.send("channel", message)
            _scribble_on(await self.receive(layer, "channel"))
            received = await self.receive(layer, "channel")
            check_equal(received, _nested(), "each send() makes a message of its own")

    def unencodable(self) -> list[Any]:
        """Return values that the layer must refuse."""
        never = [threading.Lock(), (n for n in range(1)), {"deep": [threading.Lock()]}]
        if self.carries_objects:
            return never
        endless: list[Any] = []
        endless.append(endless)
        return [*never, _Unknown(), lambda: None, {"deep": [_Unknown()]}, 1j, endless]

    async def check_round_trip(self, layer: Layer, value: Any) -> None:
        """Send ``value`` in a message and check that it arrives unaltered, types included."""
        message = {"type": "conformance.value", "value": copy.deepcopy(value)}
        await layer.send("channel", message)
        received = await self.receive(layer, "channel")
        promise = f"{value!r:.40} arrives unaltered"
        check_equal(received, {"type": "conformance.value", "value": value}, promise)
        check_equal(type(received["value"]), type(value), promise)


def _nested() -> Message:
    return {"type": "conformance.nested", "list": [1, [2]], "dict": {"key": {"deep": "value"}}}


def _scribble_on(message: Message) -> None:
    message["list"][1].append("scribble")
    message["dict"]["key"]["deep"] = "scribble"
    message["added"] = "scribble"
