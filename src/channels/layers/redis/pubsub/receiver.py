"""Where a process receives what is published: one event loop at a time, and what it does there."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

from ...._runtime.loops import bridge, is_passing
from ...broker.handover import Loop, LoopEnded, across, hand_over
from ..connection.errors import forget
from ..connection.servers import Server
from .subscription import Commands, Recipient, Subscription

__all__ = ["Reception"]

_T = TypeVar("_T")

# Seconds for a server to hand out what it had published when nobody wants more.
_LEAVING = 2.0

_MOVED = "the event loop that received has ended"


class Reception:
    """A process's subscriptions, one for each server, on one of its event loops.

    It is the first loop on which somebody wants to receive. When that ends, another one takes
    over, with the same topics.

    Args:
        servers: who publish.
        own_topics: the process's own topic on each server.
        recipient: who gets what is published.
        commands: which commands to publish and subscribe with.
        waiting: the event loops on which somebody waits for what is published.
        probe: publishes something to this process's own topic on a server, with such commands.
    """

    def __init__(
        self,
        servers: list[Server],
        own_topics: list[bytes],
        recipient: Recipient,
        commands: Callable[[], Awaitable[Commands]],
        waiting: Callable[[], Iterable[Loop]],
        probe: "Callable[[int, Commands], asyncio.Future[int]] | None" = None,
    ) -> None:
        self._waiting = waiting
        self._probe = probe
        self._servers = servers
        #: The process's own topic on each server.
        self.own_topics = own_topics
        self._recipient = recipient
        self._commands = commands
        self._loop: Loop | None = None
        self._moving: asyncio.Future[None] | None = None
        #: For each server; empty before anybody wanted to receive.
        self.subscriptions: list[Subscription] = []
        #: The groups with members here, by topic, for each server.
        self.groups: list[dict[bytes, str]] = [{} for _ in servers]

    @property
    def loop(self) -> Loop | None:
        """The loop that receives, if it runs."""
        loop = self._loop
        return loop if loop is not None and loop.is_running() else None

    async def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Do ``work`` on the event loop that receives, which becomes this one if there is none."""
        here = asyncio.get_running_loop()
        if is_passing(here):
            return await bridge.cross(self.run(work))
        while True:
            if self.loop is None:
                await self._take_over()
            loop = self._loop
            if loop is here or loop is None:
                return await work()
            with contextlib.suppress(LoopEnded):
                return await across(loop, work())

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called on the event loop that receives, if there is one."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(callback)

    async def _take_over(self) -> None:
        commands = await self._commands()
        if self.loop is not None:  # meanwhile
            return
        gap = _MOVED if self.subscriptions else None
        if gap is not None:
            for partition in range(len(self._servers)):
                self._recipient.subscription_lost(partition, gap)
        for subscription in self.subscriptions:
            subscription.abandon()
        self._loop = asyncio.get_running_loop()
        self.subscriptions = [
            Subscription(
                server,
                number,
                commands,
                self._recipient,
                [own, *groups],
                gap,
                partial(self._probe, number, commands) if self._probe else None,
            )
            for number, (server, own, groups) in enumerate(
                zip(self._servers, self.own_topics, self.groups, strict=True)
            )
        ]
        first = self.subscriptions[0]
        first.when_over(lambda: self._ended(first))

    def _ended(self, first: Subscription) -> None:
        """Have another event loop receive, as this one ends; :meth:`stop` is no such end.

        Nor is the end of what was abandoned here before this loop took over again.
        """
        if self.subscriptions and self.subscriptions[0] is first:
            self._loop = None
            hand_over(self._waiting, self._go_on)

    def _go_on(self) -> None:
        self._moving = asyncio.ensure_future(self.be_ready())
        self._moving.add_done_callback(forget)

    def is_ready(self) -> bool:
        """Whether a loop receives, and the process's own topics were subscribed to."""
        return self.loop is not None and all(
            map(Subscription.was_confirmed, self.subscriptions, self.own_topics)
        )

    async def be_ready(self) -> None:
        """Wait until the process's own topics are subscribed to; no longer if they ever were."""
        if self.loop is not asyncio.get_running_loop():
            await self.run(self._be_ready)
        else:
            await self._be_ready()

    async def _be_ready(self) -> None:
        for topic, subscription in zip(self.own_topics, self.subscriptions, strict=True):
            if not subscription.was_confirmed(topic):
                await subscription.subscribe(topic)

    async def be_repaired(self, partition: int) -> None:
        """Wait until a server is heard again, if it is this event loop that cannot hear it."""
        if self._loop is asyncio.get_running_loop():
            subscription = self.subscriptions[partition]
            if not subscription.up:
                await subscription.wait_until_up()

    async def rest(self) -> None:
        """Let the connections go, if it is this event loop that receives and nobody needs it.

        The process needs it that has members in groups or waits for messages: what is published
        while it does not listen passes it by. What was published before has been handed on.
        """
        if self._loop is not asyncio.get_running_loop() or self._is_needed():
            return
        topics = list(zip(self.own_topics, self.subscriptions, strict=True))
        for topic, subscription in topics:
            subscription.unsubscribe(topic)
        _, late = await asyncio.wait(
            [subscription.barrier() for subscription in self.subscriptions], timeout=_LEAVING
        )
        taken_back = any(subscription.has(topic) for topic, subscription in topics)
        if late or taken_back or self._is_needed():
            return
        subscriptions, self.subscriptions = self.subscriptions, []
        self._loop = None
        for subscription in subscriptions:
            subscription.abandon()
        await asyncio.gather(*(subscription.stop() for subscription in subscriptions))

    def _is_needed(self) -> bool:
        """Whether somebody in this process relies on what is received, or waits for the start."""
        pending = map(Subscription.is_pending, self.subscriptions, self.own_topics)
        return any(self.groups) or bool(set(self._waiting())) or any(pending)

    async def stop(self) -> None:
        """Stop receiving, on the event loop that does or when that has ended."""
        subscriptions, self.subscriptions = self.subscriptions, []
        running = self._loop is asyncio.get_running_loop()
        self._loop = None
        self.groups = [{} for _ in self._servers]
        if running:
            for subscription in subscriptions:
                await subscription.stop()
        else:
            for subscription in subscriptions:
                subscription.abandon()
