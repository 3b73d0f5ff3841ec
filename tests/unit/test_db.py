"""Database access from async code."""

import asyncio
import threading

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.db import transaction

from channels.db import DatabaseSyncToAsync, aclose_old_connections, database_sync_to_async

from .runtime.database_file import ALIAS, aquery, database_file, is_open, query


@pytest.fixture(autouse=True)
def file(tmp_path, django_db_blocker):
    with django_db_blocker.unblock(), database_file(tmp_path / "test.sqlite3"):
        yield


def test_it_is_a_sync_to_async():
    assert database_sync_to_async is DatabaseSyncToAsync
    assert issubclass(DatabaseSyncToAsync, SyncToAsync)
    assert asyncio.iscoroutinefunction(database_sync_to_async(query))


async def test_arguments_results_and_exceptions_pass():
    assert await database_sync_to_async(dict)(a=1) == {"a": 1}
    with pytest.raises(ZeroDivisionError):
        await database_sync_to_async(divmod)(1, 0)


async def test_as_a_decorator_of_functions_and_methods():
    @database_sync_to_async
    def double(n):
        """Twice as much."""
        return 2 * n

    class Shop:
        @database_sync_to_async
        def who(self):
            return self

    shop = Shop()
    assert await double(4) == 8
    assert double.__doc__ == "Twice as much."
    assert await shop.who() is shop


async def test_it_runs_in_the_thread_of_other_sensitive_code():
    assert (
        await database_sync_to_async(threading.get_ident)()
        == await sync_to_async(threading.get_ident)()
    )
    elsewhere = database_sync_to_async(threading.get_ident, thread_sensitive=False)
    assert await elsewhere() != await sync_to_async(threading.get_ident)()


@pytest.mark.parametrize("fails", [False, True])
async def test_no_stale_connection_is_left(fails):
    seen = []

    def use():
        seen.append(query())
        seen.append(is_open(seen[0]))
        if fails:
            raise ValueError

    try:
        await database_sync_to_async(use)()
    except ValueError:
        assert fails
    connection, was_open = seen
    assert was_open
    assert not is_open(connection)


async def test_no_stale_connection_is_found():
    before = await aquery()
    assert is_open(before)
    assert await database_sync_to_async(is_open)(before) is False


async def test_a_transaction_is_left_alone():
    def begin():
        atomic = transaction.atomic(using=ALIAS)
        atomic.__enter__()
        return atomic, query()

    atomic, connection = await database_sync_to_async(begin)()
    await database_sync_to_async(query)()
    await aclose_old_connections()
    assert is_open(connection)
    assert connection.in_atomic_block
    await database_sync_to_async(atomic.__exit__)(None, None, None)
    assert not is_open(connection)


async def test_aclose_old_connections():
    connection = await aquery()
    await aclose_old_connections()
    assert not is_open(connection)
    await aclose_old_connections()


async def test_a_connection_that_is_not_old_is_kept(tmp_path):
    connection = await aquery()
    inner, connection.close_at = connection.connection, None
    await aclose_old_connections()
    await database_sync_to_async(query)()
    assert connection.connection is inner


async def test_tests_may_replace_what_closes_connections(monkeypatch):
    """As projects' tests do, to keep a transaction open."""
    called = []
    monkeypatch.setattr("channels.db.close_old_connections", lambda: called.append(True))
    await database_sync_to_async(lambda: None)()
    await aclose_old_connections()
    assert called == [True] * 3
