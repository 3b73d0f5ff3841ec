"""Tells those that listen of each message of a client, and of each handler.

It is entered only while somebody listens (:data:`channels.signals.listened`).
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from .. import signals
from ..exceptions import StopConsumer
from ..signals import HandlerHook, listened
from . import clock, lograte
from .consumer_signals import send_signal
from .tallies import size_of
from .types import Consumer, Message

__all__ = ["CONTENT", "Observation", "observe"]

Dispatch: TypeAlias = Callable[[Message], Awaitable[Any]]

logger = logging.getLogger("channels.signals")

#: What carries something of the client to the application. No set: types may be anything.
CONTENT = ("websocket.receive", "http.request")


def observe(consumer: Consumer, message: Message, source: str) -> "Observation | None":
    """A handler is called next.

    Args:
        consumer: which gets the message.
        message: from the client, or from the channel layer.
        source: "client" or "layer".

    Returns:
        What is to call the handler; None if nobody wants to know how it ends.
    """
    hook, begun, message_type = listened.hook, None, message.get("type")
    if hook is not None:
        text = message_type if type(message_type) is str else str(message_type)
        try:
            begun = hook.begin(consumer, text, source)
        except Exception as error:  # noqa: BLE001 - the message is handled in any case
            _failed(error)
    if listened.signals:
        if source == "client" and message_type in CONTENT and signals.message_received.receivers:
            size = size_of(message)
            send_signal(signals.message_received, consumer, message_type=message_type, size=size)
    elif begun is None:
        return None
    return Observation(consumer, source, hook, begun)


class Observation:
    """Calls a handler, and tells those that listen of its beginning and its end."""

    __slots__ = ("_begun", "_consumer", "_hook", "_source")

    def __init__(
        self, consumer: Consumer, source: str, hook: HandlerHook | None, begun: object
    ) -> None:
        self._consumer, self._source, self._hook, self._begun = consumer, source, hook, begun

    async def call(self, dispatch: Dispatch, message: Message) -> None:
        """Give ``message`` to its handler.

        Args:
            dispatch: calls the handler.
            message: for it.

        Raises:
            BaseException: what the handler raises.
        """
        consumer, source, message_type = self._consumer, self._source, str(message.get("type"))
        send_signal(
            signals.handler_started,
            consumer,
            message_type=message_type,
            source=source,
            message=message,
        )
        failure: BaseException | None = None
        began = clock.now()
        try:
            await dispatch(message)
        except StopConsumer:
            raise
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds, failed = clock.now() - began, failure
            del failure  # it refers to this frame
            send_signal(
                signals.handler_finished,
                consumer,
                message_type=message_type,
                source=source,
                message=message,
                seconds=seconds,
                exception=failed,
            )
            if self._hook is not None and self._begun is not None:
                try:
                    self._hook.end(self._begun, failed)
                except Exception as error:  # noqa: BLE001 - the message has been handled
                    _failed(error)
            del failed


def _failed(error: Exception) -> None:
    said = "What is called around handlers has failed: %r"
    lograte.log(logger, logging.ERROR, "hook", said, error, exc_info=error)
