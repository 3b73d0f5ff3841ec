"""The mailbox of a consumer that gets its messages by the layer's ``receive``."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .._runtime.carried import put_back
from .._runtime.exits import is_crash
from ..exceptions import ChannelsError

if TYPE_CHECKING:
    from .mailbox import Mailbox

__all__ = ["OverriddenMailbox", "ReceivingMailbox"]


class _Receives(Protocol):
    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one."""


class ReceivingMailbox:
    """A mailbox filled by a task that receives one message after the other.

    One message is read ahead. What more there is stays in the layer, under its own capacity.

    Args:
        layer: to receive from.
        channel: the consumer's.
        wake: called on the running event loop when there is something to take.
    """

    def __init__(self, layer: _Receives, channel: str, wake: Callable[[], None]) -> None:
        self._layer = layer
        self._channel = channel
        self._wake = wake
        self._messages: deque[dict[str, Any]] = deque()
        self._error: BaseException | None = None
        self._room = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._receive())

    async def _receive(self) -> None:
        task = asyncio.current_task()
        try:
            while True:
                self._messages.append(put_back(await self._layer.receive(self._channel)))
                self._room.clear()  # first, for the consumer may take as it is woken
                self._wake()
                await self._room.wait()
        except asyncio.CancelledError:
            # Unless it was close(), something within the layer was cancelled. The consumer must
            # not stay connected and hear nothing any more.
            self._error = ChannelsError("The channel layer cancelled its own receive()")
            self._wake()
            raise
        except BaseException as error:  # raised again where the consumer is told
            if not is_crash(error, task):
                raise
            self._error = error
            self._wake()

    @property
    def overflowed(self) -> bool:
        """False: what is too much stays in the layer."""
        return False

    def take(self) -> dict[str, Any] | None:
        """The oldest message, or None; raises what ``receive`` raised."""
        if self._messages:
            self._room.set()
            return self._messages.popleft()
        if self._error is not None:
            raise self._error
        return None

    async def close(self) -> None:
        """Stop receiving. The layer's own expiry takes care of what is left."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1)


class OverriddenMailbox(ReceivingMailbox):
    """The mailbox of a consumer if a subclass of one of our layers has its own ``receive``.

    Every message of the consumer then passes through that method, at the cost of a task. The
    layer's own mailbox stays open beneath it, for the memberships, the policy and the gaps.

    Args:
        layer: the layer whose ``receive`` takes from ``mailbox``.
        mailbox: the layer's own, opened for this consumer.
        wake: as it was given to ``mailbox``.
    """

    def __init__(self, layer: _Receives, mailbox: "Mailbox", wake: Callable[[], None]) -> None:
        super().__init__(layer, mailbox.channel, wake)
        self._mailbox = mailbox

    @property
    def overflowed(self) -> bool:
        """Whether the consumer is to be given up."""
        return self._mailbox.overflowed

    def take(self) -> dict[str, Any] | None:
        """The news of a gap, or the oldest message, or None; raises what ``receive`` raised."""
        told = self._mailbox.tell_of_gap()
        return super().take() if told is None else told

    async def close(self) -> None:
        """Stop receiving, drop what is undelivered, leave every group, and free the channel."""
        await super().close()
        await self._mailbox.close()
