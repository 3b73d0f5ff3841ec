"""What one process says of itself, and what others make of it.

Processes of different versions may be asked together, while a new one is being rolled out. So
whatever is not there has a default, whatever is unknown is passed over, and an answer whose values
are of other types than these is no answer.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

__all__ = [
    "Connection",
    "Connections",
    "Count",
    "Crash",
    "Group",
    "Layer",
    "Process",
    "Text",
    "as_message",
    "read",
]

_T = TypeVar("_T")

#: A text that a process may send: longer ones are refused, so that nobody fills a page.
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=500)]

#: How many of something.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class Crash(msgspec.Struct, frozen=True):
    """A handler that raised.

    Args:
        at: seconds since the epoch.
        consumer: its class.
        path: of the connection, without its query string; the channel of a worker.
        error: the type and the text of the exception.
        where: the line that raised it.
    """

    at: float
    consumer: Text
    path: Text = ""
    error: Text = ""
    where: Text = ""


class Group(msgspec.Struct, frozen=True):
    """A group, and how many members it has in the process."""

    name: Text
    members: Count
    layer: Text = "default"


class Layer(msgspec.Struct, frozen=True):
    """What a layer object has counted since it was made: messages, by recipient."""

    alias: Text
    backend: Text = ""
    sent: Count = 0
    delivered: Count = 0
    pending: Count = 0
    dropped: dict[Text, Count] = {}


class Connection(msgspec.Struct, frozen=True):
    """One connection.

    Args:
        id: what names it for a look at it: the channel, or what takes its place without a layer.
        consumer: its class.
        protocol: "websocket" or "http".
        path: without the query string.
        channel: the name of its channel; empty without a layer.
        user: the primary key of the user, as text; empty for somebody anonymous.
        username: the user's name, if it is known without asking a database.
        address: of the client; that of a proxy in front, if the project does not trust it.
        age: seconds since it began.
        received: messages of its client, since somebody looks.
        sent: messages to its client, since somebody looks.
        receiving: messages of its client in a second, since the look before.
        sending: messages to its client in a second, since the look before.
        unsent: bytes that the process keeps for the client, or its system; None if unknown.
        waiting: seconds that a send has waited for the client; 0 if none waits.
        mailbox: messages of the layer that wait for the consumer.
        groups: the groups it is in, the first of them only if there are many.
        group_count: how many groups it is in.
    """

    consumer: Text
    protocol: Text = ""
    path: Text = ""
    channel: Text = ""
    user: Text = ""
    username: Text = ""
    address: Text = ""
    age: _Seconds = 0.0
    received: Count = 0
    sent: Count = 0
    receiving: _Seconds = 0.0
    sending: _Seconds = 0.0
    unsent: Count | None = None
    waiting: _Seconds = 0.0
    mailbox: Count = 0
    groups: list[Text] = []
    group_count: Count = 0


class Connections(msgspec.Struct, frozen=True):
    """Those connections of a process that were asked for: the first ones in an order.

    Args:
        found: how many there are.
        rows: the first of them.
    """

    found: Count = 0
    rows: Annotated[list[Connection], msgspec.Meta(max_length=1000)] = []


class Process(msgspec.Struct, frozen=True):
    """How a process is.

    Args:
        process: its name for other processes: random text.
        clock: seconds on a clock of its own, for rates.
        counting: since when on that clock it has counted :attr:`counters`, without a break.
        host: its machine.
        pid: its number there.
        kind: "server" or "worker".
        version: of Channels.
        age: seconds since it has started.
        consumers: open connections by the class of their consumer.
        users: open connections by user, those with the most; the keys are primary keys.
        user_count: how many users are connected.
        slow: connections whose clients read too slowly, the slowest ones.
        slow_count: how many there are.
        groups: the largest groups.
        group_count: how many groups have members in this process.
        layers: the channel layers.
        counters: what has happened, by name. They only grow.
        limits: how often which limit was hit.
        crashes: the latest ones.
        lag: seconds by which the event loop was late at the most, of late; None if not measured.
        threads: how many handlers of sync consumers may run at a time.
        threads_busy: how many do.
        draining: whether it is about to end.
    """

    process: Text
    clock: float
    counting: float = 0.0
    host: Text = ""
    pid: Count = 0
    kind: Text = "server"
    version: Text = ""
    age: _Seconds = 0.0
    consumers: dict[Text, Count] = {}
    users: dict[Text, Count] = {}
    user_count: Count = 0
    slow: list[Connection] = []
    slow_count: Count = 0
    groups: list[Group] = []
    group_count: Count = 0
    layers: list[Layer] = []
    counters: dict[Text, Annotated[float, msgspec.Meta(ge=0)]] = {}
    limits: dict[Text, Count] = {}
    crashes: list[Crash] = []
    lag: _Seconds | None = None
    threads: Count = 0
    threads_busy: Count = 0
    draining: bool = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return sum(self.consumers.values())

    @property
    def dropped(self) -> int:
        """Messages that its layers have dropped, for whatever reason."""
        return sum(sum(layer.dropped.values()) for layer in self.layers)


def as_message(answer: msgspec.Struct) -> dict[str, Any]:
    """An answer as a layer's message may hold it."""
    content: dict[str, Any] = msgspec.to_builtins(answer)
    return content


def read(kind: type[_T], content: object) -> _T | None:
    """What :func:`as_message` was given, in whichever process; None if this is no such thing."""
    if not isinstance(content, Mapping):
        return None
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError):
        return None
