"""Capacity, expiry, and the account of what was lost to them."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...exceptions import ChannelFull
from .base import Layer, LayerHarness, Message, check, check_equal, refused

__all__ = ["LimitTests"]


_FRESH: Message = {"type": "conformance.fresh"}


class _TooSlow(Exception):
    """The test has taken so long that fresh messages may have expired, which explains its cause."""


@contextmanager
def _before(expiry: float) -> Iterator[None]:
    """Ends with _TooSlow if what fails in the block may be due to the time it has taken.

    Args:
        expiry: seconds that messages live.
    """
    begun = time.monotonic()
    try:
        yield
    except Exception as error:
        if time.monotonic() - begun > expiry / 2:
            raise _TooSlow from error
        raise


def _again_if_slow(
    test: Callable[[Any, float], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    """A test that is given an expiry in seconds, and longer ones on a machine that is too slow."""

    @functools.wraps(test)
    async def attempts(self: LayerHarness) -> None:
        for factor in (1, 2):
            try:
                await test(self, self.short_expiry * factor)
            except _TooSlow:
                continue
            return
        await test(self, self.short_expiry * 4)

    del attempts.__wrapped__  # pytest would ask for its arguments
    return attempts


def _numbered(count: int) -> list[Message]:
    return [{"type": "conformance.n", "n": n} for n in range(count)]


class LimitTests(LayerHarness):
    """A full channel refuses what is sent to it alone; a group send never fails; old messages go.

    A layer with ``statistics`` counts: ``sent == delivered + sum(dropped.values()) + pending``.
    """

    async def test_a_full_channel_refuses_messages(self) -> None:
        async with self.layer("enforces_capacity", capacity=3) as layer:
            await self.fill(layer, "channel", 3)
            received = await self.drain(layer, "channel")
            check_equal(received, _numbered(3), "a full channel keeps what it has accepted")
            self.check_account(layer)

    async def test_a_full_channel_accepts_again_once_read(self) -> None:
        async with self.layer("enforces_capacity", capacity=2) as layer:
            await self.fill(layer, "channel", 2)
            await self.receive(layer, "channel")
            await layer.send("channel", {"type": "conformance.next"})
            received = await self.receive_many(layer, "channel", 2)
            expected = [_numbered(2)[1], {"type": "conformance.next"}]
            check_equal(received, expected, "room that was made is used")

    async def test_a_full_channel_is_full_alone(self) -> None:
        async with self.layer("enforces_capacity", capacity=2) as layer:
            await self.fill(layer, "channel", 2)
            await self.fill(layer, "other", 2)

    async def test_channel_capacity_overrides_capacity(self) -> None:
        config = {"capacity": 2, "channel_capacity": {"wide.*": 4, "narrow": 1}}
        async with self.layer("enforces_capacity", **config) as layer:
            for channel, capacity in (("wide.one", 4), ("narrow", 1), ("plain", 2)):
                await self.fill(layer, channel, capacity)

    async def test_a_group_send_never_fails(self) -> None:
        async with self.layer("enforces_capacity", "groups", capacity=3) as layer:
            full, read = await layer.new_channel(), await layer.new_channel()
            await layer.group_add("group", full)
            await layer.group_add("group", read)
            received = []
            for message in _numbered(6):
                await layer.group_send("group", message)
                received.append(await self.receive(layer, read))
            check_equal(received, _numbered(6), "a full member costs the others nothing")
            kept = await self.receive_many(layer, full, 3)
            check(
                kept == [message for message in _numbered(6) if message in kept],
                "a full member keeps as many messages as it has room for, in order",
            )
            if hasattr(layer, "statistics"):
                lost = layer.statistics.dropped.get("capacity", 0)
                check_equal(lost, 3, "each copy a group send could not place is counted")
            self.check_account(layer)

    @_again_if_slow
    async def test_unread_messages_expire(self, expiry: float) -> None:
        async with self.layer("expires_messages", expiry=expiry) as layer:
            for channel in ("channel", await layer.new_channel()):
                await layer.send(channel, {"type": "conformance.old"})
                await asyncio.sleep(1.5 * expiry)
                with _before(expiry):
                    await layer.send(channel, _FRESH)
                    received = await self.receive(layer, channel)
                    check_equal(received, _FRESH, "what is too old is not read")
            if hasattr(layer, "statistics"):
                lost = layer.statistics.dropped.get("expired", 0)
                check_equal(lost, 2, "each expired message is counted")
            self.check_account(layer)

    @_again_if_slow
    async def test_group_messages_expire(self, expiry: float) -> None:
        async with self.layer("expires_messages", "groups", expiry=expiry) as layer:
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            await layer.group_send("group", {"type": "conformance.old"})
            await asyncio.sleep(1.5 * expiry)
            with _before(expiry):
                await layer.send(channel, _FRESH)
                received = await self.receive(layer, channel)
                check_equal(received, _FRESH, "what is too old is not read")

    @_again_if_slow
    async def test_expired_messages_make_room(self, expiry: float) -> None:
        config = {"capacity": 2, "expiry": expiry}
        async with self.layer("enforces_capacity", "expires_messages", **config) as layer:
            await self.fill(layer, "channel", 2)
            await asyncio.sleep(1.5 * expiry)
            with _before(expiry):
                await self.fill(layer, "channel", 2)
                received = await self.drain(layer, "channel")
                check_equal(received, _numbered(2), "the expired are gone")
            self.check_account(layer)

    async def fill(self, layer: Layer, channel: str, capacity: int) -> None:
        """Fill an empty channel and check that it holds exactly ``capacity`` messages."""
        for message in _numbered(capacity):
            try:
                await layer.send(channel, message)
            except ChannelFull:
                check(condition=False, promise=f"{channel} has room for {capacity} messages")
        promise = f"with {capacity} messages {channel} is full, and send raises ChannelFull"
        await refused(promise, ChannelFull, layer.send, channel, {"type": "conformance.more"})

    def check_account(self, layer: Layer) -> None:
        """Check that nothing vanished uncounted, if the layer counts."""
        if hasattr(layer, "statistics"):
            counts = layer.statistics
            check_equal(
                counts.delivered + sum(counts.dropped.values()) + counts.pending,
                counts.sent,
                "sent == delivered + dropped + pending",
            )
