"""Database access from async code, with Django's care for connections."""

from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async

from ._runtime import abandoned

# Called by this name, so that tests which replace it here have the connections left alone.
from ._runtime.database import close_old_connections

__all__ = [
    "DatabaseSyncToAsync",
    "aclose_old_connections",
    "close_old_connections",
    "database_sync_to_async",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")

abandoned.install()


class DatabaseSyncToAsync(SyncToAsync[_P, _R]):
    """A ``SyncToAsync`` whose function finds no stale database connection, and leaves none.

    Before and after the call, connections of its thread that are unusable or too old are closed,
    as Django does around a request. One inside ``atomic`` is left alone.
    """

    def thread_handler(self, loop: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs in the thread, around the function."""
        close_old_connections()
        try:
            return super().thread_handler(loop, *args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            close_old_connections()


if TYPE_CHECKING:

    def database_sync_to_async(
        func: Callable[_P, _R],
        thread_sensitive: bool = True,
        executor: Executor | None = None,
        context: Context | None = None,
    ) -> Callable[_P, Coroutine[Any, Any, _R]]:
        """The class as type checkers may see it: as a decorator that works on methods, too."""

else:
    #: Wraps a function that uses the database, so that async code can await it. Takes the arguments
    #: of ``asgiref.sync.sync_to_async`` and serves as a decorator.
    database_sync_to_async = DatabaseSyncToAsync


def _close() -> None:
    close_old_connections()


_aclose = sync_to_async(_close, thread_sensitive=True)


async def aclose_old_connections() -> None:
    """Close stale database connections in the thread that async code's queries run in."""
    await _aclose()
