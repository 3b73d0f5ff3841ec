"""What has been published over one connection, until RabbitMQ confirms it."""

import asyncio
import enum
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from aiormq import exceptions as amqp

from ..._runtime import timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable, MessageTooLarge, Unconfirmed
from .connecting import explain
from .frames import (
    ACK,
    BODY,
    HEADER,
    METHOD,
    NACK,
    RETURN,
    Properties,
    encode_message,
    message_number,
)
from .link import Link
from .wire import Wire

__all__ = ["Outbox", "Outcome", "too_large"]

# The size of a frame if the server sets no limit.
_FRAME = 128 * 1024

# Bytes of a method's class and number, and of the tag behind it, after which "multiple" stands.
_NAME, _TAG = 4, 8

# What RabbitMQ says as it closes a channel.
_TOO_LARGE = re.compile(
    r"message size (?P<size>\d+) is larger than configured max size (?P<limit>\d+)"
)


class Outcome(enum.Enum):
    """What became of a message."""

    TAKEN = enum.auto()
    #: At least one queue had no room. All others have it.
    FULL = enum.auto()
    #: There is no queue for it.
    UNROUTABLE = enum.auto()


@dataclass(slots=True, eq=False)
class _Message:
    """One that is not confirmed.

    Attributes:
        outcome: is told to the caller, who may have gone.
        exchange: where it was published.
        size: its bytes.
        until: when it is given up, on the monotonic clock.
    """

    outcome: "asyncio.Future[Outcome]"
    exchange: str
    size: int
    until: float


class Outbox:
    """Publishes over one connection, in order, and says what became of each message.

    What is published while nothing is under way is written at once, and what is published in one
    turn of the event loop after that is written together. It takes no task, and one timer for all.

    Args:
        link: the connection; its channel publishes nothing else. It belongs to the outbox.
        wire: over which it was made.
        patience: seconds for which a confirmation is awaited.
    """

    def __init__(self, link: Link, wire: Wire, patience: float) -> None:
        self.link = link
        self._wire, self._patience = wire, patience
        self._loop = asyncio.get_running_loop()
        self._channel = link.channel.number
        self._limit = link.channel.connection.connection_tune.frame_max or _FRAME
        # By the number that RabbitMQ gives them, in order.
        self._messages: OrderedDict[int, _Message] = OrderedDict()
        self._number = 0
        self._unwritten: list[bytes] = []
        #: The bytes that a message may have, once RabbitMQ has refused one for having more.
        self.largest: int | None = None
        self._timer: timers.Timer | None = None
        wire.attach(self._channel, self._take)
        link.over.add_done_callback(self._ended)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self._wire.lost and self.link.is_open

    @property
    def is_ready(self) -> bool:
        """Whether something can be published at once."""
        return self._wire.flowing.is_set() and not self._wire.lost and self.link.is_open

    async def flow(self) -> None:
        """Wait until RabbitMQ takes messages, or the connection has broken.

        Raises:
            BrokerUnavailable: it takes none.
        """
        try:
            async with timers.timeout(self._patience):
                await self._wire.flowing.wait()
        except TimeoutError:
            raise BrokerUnavailable(
                "RabbitMQ takes no messages, since its memory or its disk are short (its log says "
                f"which alarm it has set); it was waited for {self._patience:g} seconds"
            ) from None

    # Publishing

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> "asyncio.Future[Outcome]":
        """Publish a message.

        Args:
            exchange: its name, or nothing for the default exchange.
            key: the routing key.
            body: the message.
            properties: numbered if it is mandatory.
            mandatory: whether it matters that there is no queue for it.

        Returns:
            What is told its outcome, or gets one of these errors. If it is cancelled, the message
            is published nevertheless.

        Raises:
            InvalidNameError: the key is too long.
            MessageTooLarge: told later: RabbitMQ takes none that is so large.
            Unconfirmed: told later: it may have been published.
            BrokerError: told later: RabbitMQ refused it.
        """
        number = self._number + 1
        data = encode_message(
            self._channel, exchange, key, body, properties, number if mandatory else None,
            self._limit,
        )  # fmt: skip
        self._number = number
        outcome: asyncio.Future[Outcome] = self._loop.create_future()
        if self._messages:
            if not self._unwritten:
                self._loop.call_soon(self._flush)
            self._unwritten.append(data)
        else:  # a caller that sends one after the other is spared a turn of the event loop
            self._flush()
            self._wire.write(data)
        self._messages[number] = _Message(outcome, exchange, len(body), now() + self._patience)
        if self._timer is None:
            self._timer = timers.Timer(self._patience, self._give_up)
        return outcome

    def _flush(self) -> None:
        """Write what has been published in this turn."""
        if self._unwritten:
            data, self._unwritten = b"".join(self._unwritten), []
            self._wire.write(data)

    # Confirmations

    def _take(self, kind: int, content: bytes) -> bool:
        """Handle a frame, if it concerns messages; whether it does."""
        if kind == METHOD:
            method = content[:_NAME]
            if method in (ACK, NACK):
                tag = int.from_bytes(content[_NAME : _NAME + _TAG], "big")
                self._confirmed(tag, bool(content[_NAME + _TAG] & 1), method == ACK)
                return True
            return method == RETURN
        if kind == HEADER:  # only what comes back has one here, and a body
            self._returned(message_number(content))
        return kind in (HEADER, BODY)

    def _confirmed(self, number: int, multiple: bool, taken: bool) -> None:
        """RabbitMQ has a message, or a queue had no room for it."""
        outcome, messages = Outcome.TAKEN if taken else Outcome.FULL, self._messages
        if multiple:
            while messages and next(iter(messages)) < number:
                _tell(messages.popitem(last=False)[1], outcome)
        message = messages.pop(number, None)
        if message is not None:
            _tell(message, outcome)

    def _returned(self, number: int) -> None:
        """There was no queue for a message; RabbitMQ confirms it nevertheless."""
        message = self._messages.pop(number, None)
        if message is not None:
            _tell(message, Outcome.UNROUTABLE)

    def _give_up(self) -> None:
        """Look for messages that have not been confirmed in time."""
        self._timer = None
        while self._messages:
            number, message = next(iter(self._messages.items()))
            left = message.until - now()
            if left > 0:
                self._timer = timers.Timer(left, self._give_up)
                return
            del self._messages[number]
            _fail(
                message,
                Unconfirmed(f"RabbitMQ has not confirmed a message for {self._patience:g} seconds"),
            )

    # The end

    def _ended(self, over: "asyncio.Future[Any]") -> None:
        """The connection, or the channel, has been closed: nothing more is confirmed."""
        reason = over.exception()
        if (sizes := _TOO_LARGE.search(str(reason))) is not None:
            self.largest = int(sizes["limit"])
        self._unwritten = []
        messages, self._messages = self._messages, OrderedDict()
        for message in messages.values():
            _fail(message, _error(message, reason))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def aclose(self) -> None:
        """Write what has been published, and disconnect."""
        self._flush()
        await self.link.aclose()


def _error(message: _Message, reason: BaseException | None) -> Exception:
    """What the caller of a message is told, when its channel has been closed."""
    name = f"'{message.exchange or 'amq.default'}'"
    sizes = _TOO_LARGE.search(str(reason))
    if sizes is not None and message.size == int(sizes["size"]):
        return too_large(message.size, int(sizes["limit"]))
    if isinstance(reason, amqp.ChannelAccessRefused) and name in str(reason):
        return explain(reason, "a message")
    error = Unconfirmed(
        f"RabbitMQ has not confirmed a message: {reason or 'the connection was closed'!r}"
    )
    error.__cause__ = reason
    return error


def too_large(size: int, limit: int) -> MessageTooLarge:
    """What is raised for a message with so many bytes."""
    return MessageTooLarge(
        f"RabbitMQ takes messages of up to {limit} bytes, and this one has {size}; keep what is "
        "large elsewhere and send where it is, or raise max_message_size in rabbitmq.conf"
    )


def _tell(message: _Message, outcome: Outcome) -> None:
    if not message.outcome.done():
        message.outcome.set_result(outcome)


def _fail(message: _Message, error: Exception) -> None:
    if not message.outcome.done():
        message.outcome.set_exception(error)
