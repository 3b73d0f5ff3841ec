"""Closes old database connections as Django's request cycle does, message by message.

Django closes old connections when a request starts and when it has finished, in the thread that
holds them. A consumer's messages are its requests. For handlers that run in a thread that is one
cheap call (:func:`close_old_connections`). An async handler's queries run in Django's
thread-sensitive thread, where the event loop cannot look; hopping there for every message would
cost more than most handlers do. So Django's ``connection_created`` signal tells which connections
async handlers opened, and only when one of these has become stale is that thread told to close it.
No handler waits for that: the thread may be busy with another query for long.
"""

import asyncio
import logging
import time
import weakref
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

__all__ = ["close_old_connections", "closing", "opened", "release", "watch", "watching"]

logger = logging.getLogger("channels.consumer")

# True in the context of async handlers, and in the threads that their queries run in.
watching: ContextVar[bool] = ContextVar("channels_database_watching", default=False)

# By id: the connections that async handlers opened and that may still be open.
opened: dict[int, "weakref.ref[BaseDatabaseWrapper]"] = {}

# By event loop: the task that closes stale connections, while it runs.
closing: dict[asyncio.AbstractEventLoop, "asyncio.Task[None]"] = {}


def watch() -> None:
    """Start watching which database connections are opened. Called by the app config."""
    connection_created.connect(_connection_created, dispatch_uid="channels.database")


def _connection_created(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if watching.get():
        key = id(connection)
        opened[key] = weakref.ref(connection, lambda _: opened.pop(key, None))


def close_old_connections() -> None:
    """Close this thread's unusable or obsolete connections, but none inside ``atomic``."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and not connection.in_atomic_block:
            if connection.errors_occurred:
                connection.close_if_unusable_or_obsolete()
            elif _is_stale(connection):
                # Closed at once, since Django's method asks the connection again, which a test
                # tool that forbids database access takes for one.
                connection.close()
            else:
                connection.health_check_done = False  # type: ignore[attr-defined]


async def release() -> None:
    """Close those connections that async handlers opened and that are stale.

    When it returns, the thread-sensitive thread has been asked to close them, and does so before
    anything that the next handler asks of it. Call it only when :data:`opened` is not empty; the
    test costs nothing, the call a little.
    """
    loop = asyncio.get_running_loop()
    if _find_stale():
        if loop not in closing:
            closing[loop] = loop.create_task(_close_stale(loop))
        await asyncio.sleep(0)  # lets the task run as far as to the thread


async def _close_stale(loop: asyncio.AbstractEventLoop) -> None:
    try:
        while stale := _find_stale():
            settled = await _close_in_sensitive_thread()
            for connection in stale:
                # Another thread's, which is left to whatever runs there, or one that does not
                # close, as those of in-memory SQLite databases.
                if id(connection) not in settled:
                    opened.pop(id(connection), None)
    except Exception:
        logger.exception("Closing old database connections failed")
    finally:
        del closing[loop]


def _close_here() -> set[int]:
    """Close this thread's old connections; the ids of its connections that are not stale now."""
    close_old_connections()
    return {
        id(connection)
        for connection in connections.all(initialized_only=True)
        if connection.connection is None or connection.in_atomic_block or not _is_stale(connection)
    }


_close_in_sensitive_thread = sync_to_async(_close_here, thread_sensitive=True)


def _find_stale() -> list[BaseDatabaseWrapper]:
    """The stale among the opened connections.

    Reads attributes of other threads' connections, and changes none but the flag by which Django
    remembers that it checked a connection's health.
    """
    stale = []
    for key, reference in list(opened.items()):
        connection = reference()
        if connection is None or connection.connection is None:
            opened.pop(key, None)
            if connection is not None and connection.connection is not None:
                opened[key] = reference  # its thread has opened it again this very moment
        elif connection.in_atomic_block:
            continue
        elif _is_stale(connection):
            stale.append(connection)
        else:
            connection.health_check_done = False  # type: ignore[attr-defined]
    return stale


def _is_stale(connection: BaseDatabaseWrapper) -> bool:
    """Whether ``close_if_unusable_or_obsolete`` would look at it twice."""
    return (
        connection.errors_occurred
        or connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
        or (connection.close_at is not None and time.monotonic() >= connection.close_at)
    )
