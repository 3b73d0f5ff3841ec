"""The test's databases, for the threads of a server that runs beside the test.

Django keeps one connection for each thread. That is right for a database that has a server or a
file, as long as somebody closes them all before the test database is dropped. An in-memory SQLite
database belongs to one connection to SQLite, which all threads then have to use. They take turns:
a statement waits for another thread's transaction, as it would for any other database.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper
from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django.db.utils import OperationalError

__all__ = ["shared_with_threads"]

# Seconds to wait for another thread's transaction unless OPTIONS has a "timeout": the default of
# Python's sqlite3 module, with which file databases wait.
_PATIENCE = 5.0


@contextmanager
def shared_with_threads(aliases: Collection[str]) -> Iterator[None]:
    """Let other threads use this thread's databases, for the duration of the block.

    Every other thread starts without connections and opens its own. Those are closed at the end,
    whatever has become of their threads. In-memory SQLite databases are shared instead. This
    thread keeps its connections, also while an event loop runs in it (Playwright runs one there).

    Args:
        aliases: the databases that the test may use. Those that Django forbids it are not shared.
    """
    usual = connections._connections  # type: ignore[attr-defined]
    this_thread, own = threading.current_thread(), {alias: connections[alias] for alias in aliases}
    opened: list[BaseDatabaseWrapper] = []
    with ExitStack() as stack:
        shared = {
            alias: stack.enter_context(_shared(connection))
            for alias, connection in own.items()
            if isinstance(connection, SQLiteWrapper) and connection.is_in_memory_db()
        }

        def begin() -> dict[str, BaseDatabaseWrapper]:
            if threading.current_thread() is this_thread:
                return {alias: connections[alias] for alias in connections}
            return {alias: another() for alias, another in shared.items()}

        stack.callback(_close, opened)
        stack.callback(setattr, connections, "_connections", usual)
        connections._connections = _PerThread(begin, opened)  # type: ignore[attr-defined]
        yield


class _PerThread(threading.local):
    """What ``django.db.connections`` keeps its connections in: attributes named by alias.

    Args:
        begin: called in each thread that comes by; the connections that it has from the start.
        opened: takes those that are added.
    """

    def __init__(
        self,
        begin: Callable[[], dict[str, BaseDatabaseWrapper]],
        opened: list[BaseDatabaseWrapper],
    ) -> None:
        vars(self).update(begin(), _opened=opened)

    def __setattr__(self, alias: str, connection: BaseDatabaseWrapper) -> None:
        self._opened.append(connection)
        super().__setattr__(alias, connection)


def _close(opened: list[BaseDatabaseWrapper]) -> None:
    """Close connections of other threads."""
    for connection in opened:
        connection.inc_thread_sharing()
        try:
            connection.close()
        finally:
            connection.dec_thread_sharing()


@contextmanager
def _shared(connection: SQLiteWrapper) -> Iterator[Callable[[], SQLiteWrapper]]:
    """Share an in-memory database; gives a function that makes a connection for another thread."""
    connection.ensure_connection()
    kind = type(connection)
    sharing = type(f"Shared{kind.__name__}", (_Sharing, kind), {})
    database = connection.connection
    turn = _Turn(connection.settings_dict["OPTIONS"].get("timeout", _PATIENCE))

    def another() -> _Sharing:
        made: _Sharing = sharing(connection.settings_dict, connection.alias)
        return made._join(database, turn)

    connection.__class__ = sharing
    connection._join(database, turn)  # type: ignore[attr-defined]
    try:
        yield another
    finally:
        connection._leave()  # type: ignore[attr-defined]
        connection.__class__ = kind


class _Turn:
    """A lock that a thread may take several times, and waits for with limited patience."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.RLock()

    def take(self) -> None:
        if not self._lock.acquire(timeout=self._patience):
            raise OperationalError(
                "database is locked: another thread has had a transaction open for more than "
                f"{self._patience:g} s. The test and the live server share this in-memory "
                "database; does the test wait for the server inside transaction.atomic()?"
            )

    def give_back(self) -> None:
        self._lock.release()


class _CompleteCursor(SQLiteCursorWrapper):
    """Reads all rows of a statement at once, so that it is over when the thread's turn is.

    SQLite keeps a statement in progress until its last row has been read, also an ``INSERT`` with
    ``RETURNING``, and refuses other threads a savepoint as long.
    """

    _rows: Iterator[Any] = iter(())

    def execute(self, query: str, params: Any = None) -> Any:
        super().execute(query, params)
        self._rows = iter(super().fetchall())
        return self

    def __next__(self) -> Any:
        return next(self._rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return list(islice(self._rows, self.arraysize if size is None else size))

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class _Sharing(SQLiteWrapper):
    """A thread's view of the in-memory database: its transactions are its own.

    Two threads' ``atomic`` blocks on one connection would nest, and one's rollback would undo what
    the other wrote. So a thread has the turn from the beginning to the end of its transaction, or
    for one statement outside of any.
    """

    _database: Any  # the sqlite3.Connection, which Django opens with check_same_thread=False
    _turn: _Turn
    _has_turn: bool  # for a transaction

    def _join(self, database: Any, turn: _Turn) -> "_Sharing":
        self._database, self._turn, self._has_turn = database, turn, False
        self.execute_wrappers.append(self._execute_in_turn)
        return self

    def _leave(self) -> None:
        self.execute_wrappers.remove(self._execute_in_turn)
        del self._database, self._turn, self._has_turn

    def get_new_connection(self, conn_params: Any) -> Any:
        return self._database

    def create_cursor(self, name: Any = None) -> Any:
        return self.connection.cursor(factory=_CompleteCursor)

    def _execute_in_turn(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        self._turn.take()
        try:
            return execute(sql, params, many, context)
        finally:
            self._turn.give_back()

    def _start_transaction_under_autocommit(self) -> None:
        self._turn.take()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._turn.give_back()
            raise
        self._has_turn = True

    def _set_autocommit(self, autocommit: bool) -> None:
        """Begin or end a transaction; what ends none must not commit another thread's."""
        if not autocommit and not self._has_turn:
            self._turn.take()
            self._has_turn = True
        if self._has_turn:
            try:
                super()._set_autocommit(autocommit)  # type: ignore[misc]
            finally:
                if autocommit:
                    self._has_turn = False
                    self._turn.give_back()
