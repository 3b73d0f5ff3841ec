"""The shapes of the ASGI interface, and what the runtime asks of its neighbours."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

__all__ = [
    "ASGIApplication",
    "Consumer",
    "Mailbox",
    "Message",
    "OpenMailbox",
    "Receive",
    "Scope",
    "Send",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class Consumer(Protocol):
    """What a connection needs of the consumer it drives."""

    disconnect_grace: float
    handshake_timeout: float | None
    send_timeout: float | None
    scope: Scope

    async def dispatch(self, message: Message) -> None:
        """Handle one message."""


class Mailbox(Protocol):
    """Where a connection finds the messages that its channel layer delivered."""

    overflowed: bool

    def take(self) -> dict[str, Any] | None:
        """The oldest message, or None when there is none to be had without waiting."""

    async def close(self) -> None:
        """Drop what is undelivered, leave every group, and free the channel."""


OpenMailbox: TypeAlias = Callable[[Callable[[], None]], Awaitable[Mailbox | None]]
