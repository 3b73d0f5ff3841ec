"""The shapes of the ASGI interface, and what the runtime asks of its neighbours."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Concatenate, Protocol, TypeAlias, TypeVar

__all__ = [
    "ASGIApplication",
    "Consumer",
    "Credential",
    "EntryRule",
    "Excess",
    "Guard",
    "Mailbox",
    "Message",
    "OpenMailbox",
    "Receive",
    "Scope",
    "Send",
    "any_arguments",
    "any_name",
]

_S = TypeVar("_S")
_A = TypeVar("_A")
_R = TypeVar("_R")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

# Applications come from anywhere, and each framework describes the three arguments otherwise.
ASGIApplication: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]


class Excess(Protocol):
    """What a client has done too much of."""

    @property
    def limit(self) -> str:
        """The name of the limit."""

    @property
    def seconds(self) -> float:
        """After how many the client is within it again."""

    @property
    def waits(self) -> bool:
        """Whether to wait so long, and not to close the connection."""

    @property
    def reason(self) -> str:
        """Why, for the log."""

    @property
    def code(self) -> int:
        """What to close a WebSocket with."""

    @property
    def status(self) -> int:
        """The HTTP status that says the same."""

    @property
    def told(self) -> str:
        """What the client is told."""


class Guard(Protocol):
    """What holds one connection to limits."""

    @property
    def meters(self) -> bool:
        """Whether it limits what a client sends."""

    async def admits(self, receive: "Receive", send: "Send", sender: object) -> bool:
        """Whether the connection may begin. If not, it has been refused."""

    async def check(self, size: int) -> Excess | None:
        """Count a message of so many bytes; what there is too much of, or None."""

    def count(self, excess: Any, action: str) -> None:
        """Count what became of an excess: ``"closed"``, ``"waited"``."""

    def release(self) -> None:
        """The connection has ended."""


class Consumer(Protocol):
    """What a connection needs of the consumer it drives."""

    background_grace: float
    disconnect_grace: float
    handshake_timeout: float | None
    max_background_tasks: int
    refuse_by_close: bool
    send_timeout: float | None
    scope: Scope

    async def dispatch(self, message: Message) -> None:
        """Handle one message."""

    def _channels_entry_rule(self) -> "EntryRule | None":
        """Who may come in; None for everybody."""

    def _channels_make_guard(self) -> Guard | None:
        """What holds the connection to limits; None where there are none."""

    async def _channels_shut_down(self) -> None:
        """Be told of its end, in a worker."""


class Credential(Protocol):
    """What has let a client in for some time, such as a token."""

    #: Called when :attr:`expires_at` has changed.
    changed: Callable[[], None] | None

    @property
    def expires_at(self) -> float | None:
        """When it expires, in seconds since the epoch; None if it does not."""

    @property
    def by_session(self) -> bool:
        """Whether it stands for the session of the scope, which says who the user is."""

    @property
    def token_id(self) -> str | None:
        """What it is called where it is revoked; None if it has no name."""

    def is_revoked(self) -> bool:
        """Whether it has been revoked since, as far as that can be found out. Asks the database."""

    async def refresh(self, scope: Scope, token: str) -> None:
        """Take a newer token for the same user, and tell ``scope``.

        Raises:
            TokenRefused: it is not good, or another user's.
            VerifierUnavailable: that cannot be found out now.
        """


class EntryRule(Protocol):
    """Says who may come in to a consumer."""

    async def acheck(self, scope: Scope) -> bool:
        """Whether the client of ``scope`` may."""

    def refusal(self, scope: Scope) -> tuple[int, str]:
        """The HTTP status to refuse the client with, and the reason, for the log."""


class Mailbox(Protocol):
    """Where a connection finds the messages that its channel layer delivered."""

    @property
    def overflowed(self) -> bool:
        """Whether the consumer is to be given up, because it does not keep up."""

    def take(self) -> dict[str, Any] | None:
        """The oldest message, or None if none is there yet."""

    async def close(self) -> None:
        """Drop what is undelivered, leave every group, and free the channel."""


OpenMailbox: TypeAlias = Callable[[Callable[[], None]], Awaitable[Mailbox | None]]


# Type checkers hold an override to its parent's parameters, and Channels calls it in ways that
# they cannot know. These two decorators say so, and do nothing else.


def any_name(method: Callable[[_S, _A], _R]) -> Callable[[_S, _A], _R]:
    """An override may give another name to the argument, which is passed by position."""
    return method


def any_arguments(
    method: Callable[Concatenate[_S, ...], _R],
) -> Callable[Concatenate[_S, ...], _R]:
    """An override may take fewer arguments: it is called with those that it takes."""
    return method
