"""A look at this process: how it is, and which connections it has."""

import asyncio
import heapq
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, NamedTuple

import msgspec
from django.core.exceptions import ImproperlyConfigured

from .. import __version__
from .._runtime import clock, threads
from .._runtime.connections import Drainable, connections
from .._runtime.draining import is_draining
from .._runtime.forks import in_child
from .._runtime.identity import user_id_of
from .._runtime.logtext import printable
from .._runtime.types import Scope
from ..control.plane import control_group
from ..layers import channel_layers
from ..layers.broker.layer import BrokerLayer
from ..layers.local import LocalChannels
from ..security.limits import client_address
from . import crashes
from .counting import counters
from .figures import Connection, Connections, Group, Layer, Process
from .rates import LARGEST

__all__ = [
    "FARTHEST",
    "Query",
    "SortKey",
    "as_figure",
    "connections_here",
    "local_channels",
    "process_here",
]

#: The rows of a list that can be asked for end here: a filter finds what comes later.
FARTHEST = 500

# Connections that are looked at in one turn of the event loop.
_AT_ONCE = 1000

# Users and classes of consumers that one process tells of.
_USERS, _CONSUMERS = 200, 200

# Groups that are named for one connection.
_NAMED = 10

# A send that has waited for less than this, in seconds, is no sign of a slow client.
_SLOW = 1.0

_started = clock.now()


def _begin() -> None:
    """A child is as old as its fork: masters import the project before it, and start children."""
    global _started  # noqa: PLW0603 - of the process
    _started = clock.now()


in_child(_begin)

SortKey = Literal[
    "age", "received", "sent", "receiving", "sending", "unsent", "waiting", "mailbox", "groups"
]


class Query(msgspec.Struct, frozen=True):
    """Which connections, and in which order.

    Args:
        text: what a consumer's class, a path, a user, an address or a channel has in it, in any
            case.
        group: a group that they are in.
        sort: what they are ordered by, the largest first.
        ascending: the smallest first.
        limit: how many.
    """

    text: str = ""
    group: str = ""
    sort: SortKey = "age"
    ascending: bool = False
    limit: int = 50


class _Seen(NamedTuple):
    """What is known of a connection without effort."""

    connection: Drainable
    waiting: float


def local_channels(layer: object) -> LocalChannels | None:
    """The channels and groups that a layer has in this process; None for a layer of others."""
    if isinstance(layer, BrokerLayer):
        return layer.local
    return layer if isinstance(layer, LocalChannels) else None


async def process_here(name: str, kind: str) -> Process:
    """How this process is.

    Args:
        name: by which others know it.
        kind: "server" or "worker".
    """
    lag = counters.look()
    consumers: Counter[str] = Counter()
    users: Counter[str] = Counter()
    slow: list[_Seen] = []
    async for seen in _all():
        consumers[_class_of(seen.connection)] += 1
        user = user_id_of(seen.connection.scope)
        if user is not None:
            users[printable(user)] += 1
        if seen.waiting >= _SLOW:
            slow.append(seen)
    groups = _groups()
    pool = threads.pool()
    return Process(
        process=name,
        clock=clock.now(),
        counting=counters.since,
        host=printable(socket.gethostname()),
        pid=os.getpid(),
        kind=kind,
        version=__version__,
        age=clock.now() - _started,
        consumers=dict(consumers.most_common(_CONSUMERS)),
        users=dict(users.most_common(_USERS)),
        user_count=len(users),
        slow=[_row(seen) for seen in heapq.nlargest(10, slow, key=lambda seen: seen.waiting)],
        slow_count=len(slow),
        groups=heapq.nlargest(LARGEST, groups, key=lambda group: group.members),
        group_count=len(groups),
        layers=_layers(),
        counters={**counters.totals, "crashes": crashes.count()},
        limits=dict(counters.limits.most_common(50)),
        crashes=crashes.latest(),
        lag=lag,
        threads=pool.size,
        threads_busy=len(pool.occupants()),
        draining=is_draining(),
    )


async def connections_here(query: Query) -> Connections:
    """The connections of this process that are asked for, the first ones of them."""
    counters.look()
    text, found, rows = query.text.casefold(), 0, []
    order = _ORDERS[query.sort]
    async for seen in _all():
        if (text and not _has(seen.connection, text)) or (
            query.group and query.group not in _groups_of(seen.connection)
        ):
            continue
        found += 1
        rows.append((order(seen), seen))
    choose = heapq.nsmallest if query.ascending else heapq.nlargest
    limit = min(max(query.limit, 0), FARTHEST)
    chosen = choose(limit, rows, key=lambda pair: pair[0])
    return Connections(found=found, rows=[_row(seen) for _, seen in chosen])


async def _all() -> AsyncIterator[_Seen]:
    """Every open connection, of every event loop; others go on meanwhile."""
    now, count = clock.now(), 0
    for _, here in connections.all():
        waits = {id(p.sender.consumer): p.waited(now) for p in list(here.pending_sends.values())}
        for connection in list(here.open):
            yield _Seen(connection, waits.get(id(connection.consumer), 0.0))
            count += 1
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)


def _class_of(connection: Drainable) -> str:
    consumer = connection.consumer
    return "a view" if consumer is None else crashes.class_name(type(consumer))


def _address(scope: Scope) -> str:
    """The client's address, or that of the proxy that it came through if none is trusted."""
    try:
        address = client_address(scope)
    except ImproperlyConfigured:  # a check says what is wrong with CHANNELS_TRUSTED_PROXIES
        address = None
    client = scope.get("client")
    return address or (printable(client[0]) if client else "")


def _username(scope: Scope) -> str:
    """The name of the user, if it is loaded: nothing here asks a database."""
    user = scope.get("user")
    user = getattr(user, "_wrapped", user)
    name = getattr(user, "get_username", None)
    return printable(name()) if callable(name) else ""


def _has(connection: Drainable, text: str) -> bool:
    scope = connection.scope
    return any(
        text in value.casefold()
        for value in (
            str(scope.get("path", "")),
            _class_of(connection),
            user_id_of(scope) or "",
            _username(scope),
            _address(scope),
            connection.channel_name or "",
        )
    )


def _local_of(connection: Drainable) -> LocalChannels | None:
    return local_channels(getattr(connection.consumer, "channel_layer", None))


def _groups_of(connection: Drainable) -> list[str]:
    local, channel = _local_of(connection), connection.channel_name
    return [] if local is None or channel is None else local.groups_of(channel)


def _mailbox_of(connection: Drainable) -> int:
    local, channel = _local_of(connection), connection.channel_name
    return 0 if local is None or channel is None else local.qsize(channel)


def _age(connection: Drainable) -> float:
    opened = connection.opened_at
    return 0.0 if opened is None else max(clock.now() - opened, 0.0)


def as_figure(unsent: int | None) -> int:
    """What is not known, as what is less than nothing."""
    return -1 if unsent is None else unsent


_ORDERS: dict[str, Callable[[_Seen], float]] = {
    "age": lambda seen: _age(seen.connection),
    "received": lambda seen: counters.messages(seen.connection.consumer)[0],
    "sent": lambda seen: counters.messages(seen.connection.consumer)[1],
    "receiving": lambda seen: counters.rates(seen.connection.consumer)[0],
    "sending": lambda seen: counters.rates(seen.connection.consumer)[1],
    "unsent": lambda seen: as_figure(seen.connection.unsent()),
    "waiting": lambda seen: seen.waiting,
    "mailbox": lambda seen: _mailbox_of(seen.connection),
    "groups": lambda seen: len(_groups_of(seen.connection)),
}


def _row(seen: _Seen) -> Connection:
    connection, scope = seen.connection, seen.connection.scope
    received, sent = counters.messages(connection.consumer)
    receiving, sending = counters.rates(connection.consumer)
    groups = _groups_of(connection)
    return Connection(
        consumer=_class_of(connection),
        protocol=str(scope["type"]),
        path=printable(scope.get("path", "")),
        channel=printable(connection.channel_name or ""),
        user=printable(user_id_of(scope) or ""),
        username=_username(scope),
        address=_address(scope),
        age=_age(connection),
        received=received,
        sent=sent,
        receiving=receiving,
        sending=sending,
        unsent=connection.unsent(),
        waiting=seen.waiting,
        mailbox=_mailbox_of(connection),
        groups=sorted(groups)[:_NAMED],
        group_count=len(groups),
    )


def _used() -> list[tuple[str, Any]]:
    """The layers that this process has made, by alias."""
    return sorted(channel_layers.backends.items())


def _groups() -> list[Group]:
    found = []
    for alias, layer in _used():
        local = local_channels(layer)
        if local is not None:
            sizes = local.group_sizes()
            found += [Group(name, size, alias) for name, size in sizes if name != control_group()]
    return found


def _layers() -> list[Layer]:
    found = []
    for alias, layer in _used():
        counted: Any = getattr(layer, "statistics", None)
        if local_channels(layer) is None or counted is None:
            found.append(Layer(alias=printable(alias), backend=type(layer).__name__))
            continue
        found.append(
            Layer(
                alias=printable(alias),
                backend=type(layer).__name__,
                sent=max(counted.sent, 0),
                delivered=counted.delivered,
                pending=counted.pending,
                dropped=dict(counted.dropped),
            )
        )
    return found
