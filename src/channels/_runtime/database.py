"""Letting go of database connections as Django's request cycle does, message by message.

Django closes old connections when a request starts and when it has finished, in the thread that
holds them. A consumer's messages are its requests. For handlers that run in a thread that is one
cheap call (:func:`close_old_connections`). An async handler's queries run in Django's
thread-sensitive thread, where the event loop cannot look; hopping there for every message would
cost more than most handlers do. So Django's ``connection_created`` signal tells which connections
async handlers opened, and only when one of these has become stale does anybody hop.
"""

import time
import weakref
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

__all__ = ["close_old_connections", "opened", "release", "watch", "watching"]

# True in the context of async handlers, and in the threads that their queries run in.
watching: ContextVar[bool] = ContextVar("channels_database_watching", default=False)

# By id: the connections that async handlers opened and that may still be open.
opened: dict[int, "weakref.ref[BaseDatabaseWrapper]"] = {}


def watch() -> None:
    """Start watching which database connections are opened. Called once, by the app config."""
    connection_created.connect(_connection_created, dispatch_uid="channels.database")


def _connection_created(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if watching.get():
        key = id(connection)
        opened[key] = weakref.ref(connection, lambda _: opened.pop(key, None))


def close_old_connections() -> None:
    """Close this thread's unusable or obsolete connections, but none inside ``atomic``."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


async def release() -> None:
    """Close the stale among the connections that async handlers opened, if there are any.

    Call it only when :data:`opened` is not empty; the test costs nothing, the call a little.
    """
    if _any_stale():
        await _close_in_sensitive_thread()
        # What is still stale belongs to a thread that cannot be reached from here, and which
        # closes its connections itself.
        _any_stale(forget=True)


_close_in_sensitive_thread = sync_to_async(close_old_connections, thread_sensitive=True)


def _any_stale(*, forget: bool = False) -> bool:
    """Whether one is stale.

    Reads attributes of other threads' connections, and changes none but the flag by which Django
    remembers that it checked a connection's health.
    """
    found = False
    for key, reference in list(opened.items()):
        connection = reference()
        if connection is None or connection.connection is None:
            opened.pop(key, None)
        elif _is_stale(connection):
            found = True
            if forget:
                opened.pop(key, None)
        else:
            connection.health_check_done = False  # type: ignore[attr-defined]
    return found


def _is_stale(connection: BaseDatabaseWrapper) -> bool:
    """Whether ``close_if_unusable_or_obsolete`` would look at it twice."""
    return not connection.in_atomic_block and (
        connection.errors_occurred
        or connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
        or (connection.close_at is not None and time.monotonic() >= connection.close_at)
    )
