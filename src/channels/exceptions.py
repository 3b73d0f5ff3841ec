"""The exceptions that Channels raises. All derive from :class:`ChannelsError`.

Well-known exceptions keep the built-in bases they have always had, so existing ``except`` clauses
go on working.
"""

from collections.abc import Sequence

from django.contrib.sessions.backends.base import UpdateError

__all__ = [
    "AcceptConnection",
    "ApplicationExit",
    "BackgroundTaskError",
    "BridgeClosed",
    "BrokerError",
    "BrokerUnavailable",
    "CallTimeout",
    "ChannelFull",
    "ChannelsError",
    "DenyConnection",
    "EventLoopRunning",
    "InvalidArgument",
    "InvalidChannelLayerError",
    "InvalidDeclaration",
    "InvalidHookError",
    "InvalidMethodError",
    "InvalidNameError",
    "InvalidPermission",
    "InvalidScheduleError",
    "InvalidWorkerOption",
    "ListenerFailed",
    "MessageRefused",
    "MessageTooLarge",
    "NoClient",
    "NoRouteFound",
    "NotSupported",
    "RequestAborted",
    "RequestTimeout",
    "ScheduleFull",
    "ScopeError",
    "SerializationError",
    "SessionEnded",
    "StopConsumer",
    "TokenRefused",
    "TooManyBackgroundTasks",
    "TooManyGroups",
    "Unconfirmed",
    "UnknownMessageType",
    "VerifierUnavailable",
]


class ChannelsError(Exception):
    """Base of every exception in this package."""


class RequestAborted(ChannelsError):
    """The client went away before its request was read."""


class RequestTimeout(RequestAborted):
    """The client took too long to send its request."""


class InvalidChannelLayerError(ChannelsError, ValueError):
    """A channel layer is missing, cannot be made, or lacks what is asked of it."""


class NotSupported(InvalidChannelLayerError, NotImplementedError):
    """The channel layer does not do what is asked of it; another one does."""


class AcceptConnection(ChannelsError):
    """Raise in ``connect()`` to accept the WebSocket."""


class DenyConnection(ChannelsError):
    """Raise in ``connect()`` to refuse the WebSocket."""


class ChannelFull(ChannelsError):
    """The channel already holds ``capacity`` messages, so this one was not sent."""


class ScheduleFull(ChannelFull):
    """As many messages are scheduled as the layer's ``schedule_capacity`` allows."""


class MessageTooLarge(ChannelsError):
    """The message is larger than the channel layer carries."""


class StopConsumer(ChannelsError):
    """Raise in a handler to end the consumer cleanly."""


class InvalidArgument(ChannelsError, TypeError, ValueError):
    """A function was given what it cannot work with; says what to write instead."""


class InvalidNameError(ChannelsError, TypeError):
    """A channel or group name has the wrong type, length or characters."""


class InvalidDeclaration(ChannelsError, TypeError):
    """A consumer declares a type of message in a way that cannot work."""


class MessageRefused(ChannelsError):
    """Raise in the handler of a declared message to answer it with an error.

    Args:
        code: for programs: a short text, such as ``"room_full"``.
        detail: for people who write such programs, in a sentence.
        errors: what is wrong in single places: pairs of a path, such as ``"$.room"``, and a text.
    """

    def __init__(
        self, code: str = "refused", detail: str = "", errors: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(code, detail, errors)
        self.code = code
        self.detail = detail
        self.errors = errors

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class InvalidPermission(ChannelsError, TypeError):
    """A permission is none, or has given an answer that is neither True nor False."""


class TokenRefused(ChannelsError):
    """A token lets nobody in, or does not any more.

    Args:
        reason: for the log. The client is not told, and the token is no part of it.
        expired: whether it was good until it expired, so that a fresh one may help.
    """

    def __init__(self, reason: str = "", expired: bool = False) -> None:
        super().__init__(reason, expired)
        self.reason = reason
        self.expired = expired

    def __str__(self) -> str:
        return self.reason


class VerifierUnavailable(ChannelsError):
    """What a verifier has to ask cannot be asked now: the token may be good. Says why."""


class InvalidScheduleError(ChannelsError, ValueError):
    """A delay, a time, a period or a handle of a scheduled message is not valid."""


class SerializationError(ChannelsError, TypeError, ValueError):
    """A message cannot be encoded for, or decoded from, a channel layer."""


class UnknownMessageType(ChannelsError, ValueError):
    """A message names no handler, or names a method that messages may not call."""


class ScopeError(ChannelsError, ValueError):
    """The scope lacks what a middleware further out should have put there."""


class SessionEnded(ChannelsError, UpdateError):
    """A session cannot be saved, because it has been deleted or has expired since it was loaded."""


class NoRouteFound(ChannelsError, ValueError):
    """No route or application is configured for this scope."""


class ApplicationExit(ChannelsError, RuntimeError):
    """Application code raised what is no error, such as ``SystemExit``; it is the cause of this."""


class BackgroundTaskError(ChannelsError, RuntimeError):
    """A background task cannot be started here: no connection is there that would end it."""


class TooManyBackgroundTasks(BackgroundTaskError):
    """As many background tasks are running as may be, for the consumer or the process."""


class TooManyGroups(ChannelsError):
    """The connection is in as many groups as its limits allow, so it cannot join another."""


class InvalidHookError(ChannelsError, TypeError):
    """A lifespan hook cannot be called as hooks are."""


class InvalidMethodError(ChannelsError, TypeError):
    """A consumer's method is a plain one where a coroutine is needed, or the other way round."""


class ListenerFailed(ChannelsError):
    """A worker cannot receive from one of its channels and has given up trying."""


class InvalidWorkerOption(ChannelsError, ValueError):
    """A worker cannot run with an option that it was given; says which, and why."""


class NoClient(ChannelsError, NotImplementedError):
    """A worker's application sent an event, but no client is there to get it."""


class BridgeClosed(ChannelsError, RuntimeError):
    """The interpreter is exiting, or the layer has been closed meanwhile."""


class BrokerError(ChannelsError):
    """The broker refused a connection or a command; says why. Trying again does not help."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker could not be reached for as long as a call is repeated."""


class CallTimeout(ChannelsError, TimeoutError):
    """A call took longer than its caller would wait. What it sends may still arrive."""


class EventLoopRunning(ChannelsError, RuntimeError):
    """A blocking call was made where an event loop runs, which it would hold up."""


class Unconfirmed(BrokerError):
    """The connection broke before the answer to a command came that may not be repeated."""
