"""What the conformance tests stand on: the hooks of a layer under test, and waiting."""

import asyncio
import reprlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, NoReturn, TypeVar
from unittest import SkipTest

from ...exceptions import ChannelFull

__all__ = ["Layer", "LayerHarness", "Message", "check", "check_equal", "extends", "refused"]

# Layers come from anywhere, typed or not; the suite finds out what they can do by using them.
Layer = Any
Message = dict[str, Any]
T = TypeVar("T")

_END: Message = {"type": "conformance.end"}


def check(condition: object, promise: str) -> None:
    """Fail the test, with the ``promise`` that was broken, unless ``condition`` holds."""
    if not condition:
        raise AssertionError(f"Broken promise: {promise}.")


def check_equal(actual: object, expected: object, promise: str) -> None:
    """Fail the test, with the ``promise`` that was broken, unless both are equal."""
    if actual != expected:
        raise AssertionError(
            f"Broken promise: {promise}.\n"
            f"  expected: {reprlib.repr(expected)}\n"
            f"  actual:   {reprlib.repr(actual)}"
        )


def extends(layer: Layer, extension: str) -> bool:
    """Whether the layer says that it has the extension: ``groups`` or ``flush``."""
    return extension in getattr(layer, "extensions", ())


async def refused(
    promise: str,
    errors: type[Exception] | tuple[type[Exception], ...],
    function: Callable[..., Awaitable[object]],
    *args: object,
) -> None:
    """Fail the test unless the call raises one of ``errors``, with a text that explains it."""
    try:
        await function(*args)
    except errors as error:
        check(str(error), f"{promise}, and the error says why")
    else:
        check(condition=False, promise=promise)


class LayerHarness:
    """The hooks and capabilities of a layer under test, and the tools of the tests.

    A subclass defines :meth:`make_layer`. Where a layer does less, or more, than a layer in one
    process does, it says so with the attributes; tests of what it does not do are skipped.
    """

    deadline: float = 5.0
    """Seconds within which whatever should happen has to happen."""

    short_expiry: float = 0.5
    """The shortest ``expiry`` in seconds that the layer measures reliably."""

    takes_prefix: bool = True
    """``new_channel`` takes a prefix for the name."""

    carries_bytes: bool = True
    """Values in messages may be ``bytes``."""

    carries_objects: bool = False
    """Messages may hold any object that can be copied, as they can within one process."""

    enforces_capacity: bool = True
    """Takes ``capacity`` and ``channel_capacity``, and ``send`` raises ``ChannelFull``."""

    expires_messages: bool = True
    """Takes ``expiry``, and drops messages that stay unread for longer."""

    orders_groups: bool = True
    """All members of a group see its messages in the same order, whoever sent them."""

    serves_threads: bool = True
    """A receiver gets messages at once from other threads and other running event loops."""

    outlives_event_loops: bool = True
    """One layer object may be used from several event loops, one after another."""

    keeps_named_channels: bool = False
    """What waits in a named channel outlives the layer object (needs :meth:`make_peer`)."""

    def make_layer(self, **config: Any) -> Layer:
        """Return a new layer that shares no channels or groups with any layer made before.

        Args:
            config: ``capacity`` and ``channel_capacity`` if the layer ``enforces_capacity``, and
                ``expiry`` if it ``expires_messages``. Anything not given is the layer's default.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make_layer(self, **config).")

    def make_peer(self, layer: Layer, **config: Any) -> Layer:
        """Return a layer object as another process would have it, on the broker of ``layer``."""
        raise SkipTest("The layer does not reach other processes (no make_peer).")

    async def restart_broker(self, layer: Layer) -> None:
        """Break every connection of ``layer``, as a restart of its broker does."""
        raise SkipTest("The layer has no broker that restarts (no restart_broker).")

    async def close_layer(self, layer: Layer) -> None:
        """Release what ``layer`` holds: its ``aclose()`` or else ``close()``, if it has one."""
        close = getattr(layer, "aclose", None) or getattr(layer, "close", None)
        if close is not None:
            closing = close()
            if isawaitable(closing):
                await closing

    @asynccontextmanager
    async def layer(self, *needs: str, **config: Any) -> AsyncIterator[Layer]:
        """Make a layer for the length of a block; skip the test if it lacks one of ``needs``.

        ``needs`` are names of extensions (``groups``, ``flush``), of capabilities of the layer
        (``supports_state``) or of attributes of this class.
        """
        layer = self.make_layer(**config)
        try:
            for need in needs:
                if not self._does(layer, need):
                    raise SkipTest(f"The layer does not do this: {need}.")
            yield layer
        finally:
            await self.close_layer(layer)

    def _does(self, layer: Layer, need: str) -> bool:
        if hasattr(self, need):
            return bool(getattr(self, need))
        if need.startswith("supports_"):
            return bool(getattr(layer, need, False))
        return extends(layer, need)

    @asynccontextmanager
    async def peer_of(self, layer: Layer) -> AsyncIterator[Layer]:
        """Make a peer of ``layer`` for the length of a block."""
        peer = self.make_peer(layer)
        try:
            yield peer
        finally:
            await self.close_layer(peer)

    @asynccontextmanager
    async def pair(self, *needs: str) -> AsyncIterator[tuple[Layer, Layer]]:
        """Make a layer and a peer of it for the length of a block; see :meth:`layer`."""
        async with self.layer(*needs) as layer, self.peer_of(layer) as peer:
            yield layer, peer

    async def soon(self, awaitable: Awaitable[T], promise: str) -> T:
        """Await within the deadline; fail the test with the broken ``promise`` otherwise."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(self.deadline):
                result = await awaitable
        except TimeoutError:
            self.fail_late(promise)
        # A loop that another thread failed to wake finds its message only when the timer goes off.
        if clock() - started >= self.deadline:
            self.fail_late(promise)
        return result

    async def eventually(self, condition: Callable[[], object], promise: str) -> None:
        """Wait until ``condition()`` holds; fail the test if it does not within the deadline."""

        async def poll() -> None:
            while not condition():  # noqa: ASYNC110 - anything may make it true
                await asyncio.sleep(0.005)

        await self.soon(poll(), promise)

    def fail_late(self, promise: str) -> NoReturn:
        """Fail the test because the ``promise`` was not kept in time."""
        raise AssertionError(f"Broken promise: {promise} (waited {self.deadline} s).")

    async def receive(self, layer: Layer, channel: str, promise: str = "it arrives") -> Message:
        """Receive one message within the deadline."""
        message: Message = await self.soon(layer.receive(channel), f"{promise}, on {channel}")
        return message

    async def receive_many(self, layer: Layer, channel: str, count: int) -> list[Message]:
        """Receive ``count`` messages, each within the deadline."""
        return [await self.receive(layer, channel) for _ in range(count)]

    async def drain(self, layer: Layer, channel: str) -> list[Message]:
        """Receive everything that waits in ``channel``.

        It sends a last message behind all the others and receives up to that one. So what the
        same sender has sent before is there or is lost, and no test has to wait for silence.
        """
        found: list[Message] = []
        while True:
            try:
                await layer.send(channel, _END)
                break
            except ChannelFull:
                found.append(await self.receive(layer, channel))
        while (message := await self.receive(layer, channel)) != _END:
            found.append(message)
        return found
