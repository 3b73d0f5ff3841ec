"""Messages that are sent later, or again and again, by layers that declare ``supports_delayed``."""

# ruff: noqa: D102 (the name of a test says what it checks)

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from .base import Layer, LayerHarness, Message, check, check_equal, refused

__all__ = ["DelayedTests"]

_SOON, _LATER = 0.05, 0.25  # seconds
_PERIOD = 0.1
_HALF = {"type": "conformance.delayed", "text": "\ud800"}

_INVALID: list[dict[str, Any]] = [
    {},
    {"delay": 1, "at": datetime(2100, 1, 1, tzinfo=UTC)},
    {"delay": -1},
    {"delay": math.nan},
    {"delay": math.inf},
    {"delay": "1"},
    {"delay": True},
    {"at": datetime(2050, 1, 1)},  # it has no time zone
    {"at": 1_700_000_000},
]


def _named(text: str) -> Message:
    return {"type": "conformance.delayed", "name": text}


class DelayedTests(LayerHarness):
    """What is scheduled is sent once, at its time; what is cancelled never."""

    @asynccontextmanager
    async def scheduling(self, *needs: str, **config: Any) -> AsyncIterator[Layer]:
        """Make a layer for the length of a block; skip the test if it sends nothing later."""
        async with self.layer("supports_delayed", *needs, **config) as layer:
            yield layer

    async def test_a_message_comes_at_its_time(self) -> None:
        async with self.scheduling() as layer:
            start, channels = time.monotonic(), ["named", await layer.new_channel()]
            for channel in channels:
                yesterday = datetime.now(UTC) - timedelta(days=1)
                await layer.send_later(channel, _named("past"), at=yesterday)
                message = _named("second")
                await layer.send_later(channel, message, delay=_LATER)
                message["name"] = "first"
                at = datetime.now(UTC) + timedelta(seconds=_SOON)
                await layer.send_later(channel, message, at=at)
            for channel in channels:
                names = [(await self.receive(layer, channel))["name"] for _ in range(3)]
                passed = time.monotonic() - start
                check(passed > 0.95 * _LATER, "a message is not sent before its time")
                order = ["past", "first", "second"]
                check_equal(names, order, "messages come at their times, as they were scheduled")
                check_equal(await self.drain(layer, channel), [], "they come once")

    async def test_a_cancelled_message_is_not_sent(self) -> None:
        async with self.scheduling() as layer:
            handle = await layer.send_later("channel", _named("cancelled"), delay=_SOON)
            check(isinstance(handle, str), "a handle is a text")
            check_equal(await layer.cancel_later(handle), True, "cancelling says that it was so")
            check_equal(await layer.cancel_later(handle), False, "it is cancelled once")
            handle = await layer.send_later("channel", _named("sent"), delay=2 * _SOON)
            received = await self.receive(layer, "channel")
            check_equal(received, _named("sent"), "a cancelled message is not sent")
            check_equal(await layer.cancel_later(handle), False, "what was sent stays sent")

    async def test_a_group_is_sent_to_as_it_is_then(self) -> None:
        async with self.scheduling("groups") as layer:
            first, second = await layer.new_channel(), await layer.new_channel()
            await layer.group_add("group", first)
            await layer.group_send_later("group", _named("later"), delay=_SOON)
            await layer.group_discard("group", first)
            await layer.group_add("group", second)
            received = await self.receive(layer, second)
            check_equal(received, _named("later"), "members at that time get the message")
            check_equal(await self.drain(layer, first), [], "and nobody else does")

    async def test_a_periodic_message_is_sent_once_each_period(self) -> None:
        async with self.scheduling() as layer:
            start = time.monotonic()
            for name in ("old", "new", "new"):
                await layer.send_every(_PERIOD, "channel", _named(name), name="clock")
            for _ in range(3):
                received = await self.receive(layer, "channel")
                check_equal(received, _named("new"), "a name has one message, the last one given")
            passed = time.monotonic() - start
            check(passed > 2.5 * _PERIOD, "a periodic message is sent once each period")
            check_equal(await layer.cancel_every("clock"), True, "a periodic message can be ended")
            check_equal(await layer.cancel_every("clock"), False, "it is ended once")
            await self.drain(layer, "channel")
            await layer.send_later("channel", _named("end"), delay=1.5 * _PERIOD)
            received = await self.receive(layer, "channel")
            check_equal(received, _named("end"), "what was ended is not sent any more")

    async def test_what_cannot_be_scheduled_is_refused_at_once(self) -> None:
        async with self.scheduling("groups") as layer:
            for invalid in _INVALID:
                for send in (layer.send_later, layer.group_send_later):

                    async def schedule(send: Any = send, invalid: Any = invalid) -> None:
                        await send("name", _named("refused"), **invalid)

                    await refused(f"{invalid} is refused", ValueError, schedule)
            for period in (0, -1, math.nan, math.inf, "1"):
                for repeat in (layer.send_every, layer.group_send_every):

                    async def every(repeat: Any = repeat, period: Any = period) -> None:
                        await repeat(period, "name", _named("refused"), name="clock")

                    await refused(f"the period {period!r} is refused", ValueError, every)

            async def later(name: Any, message: Any) -> None:
                await layer.send_later(name, message, delay=1)

            await refused("no message is refused", TypeError, later, "name", ["no dict"])
            await refused(
                "half a character is refused", (TypeError, ValueError), later, "name", _HALF
            )
            await refused("no name is refused", TypeError, later, "no name", _named("refused"))
            await refused("no handle is refused", ValueError, layer.cancel_later, "no handle")

    async def test_what_is_scheduled_outlives_its_sender(self) -> None:
        async with self.scheduling() as layer:
            async with self.peer_of(layer) as sender:
                await sender.send_later("channel", _named("later"), delay=_SOON)
            time.sleep(_SOON)  # noqa: ASYNC251 - nobody is there to send it
            received = await self.receive(layer, "channel")
            check_equal(received, _named("later"), "another process sends it, late if need be")
            check_equal(await self.drain(layer, "channel"), [], "it comes once")
