"""Connections that async handlers opened are closed when stale, at no cost for other handlers."""

import asyncio
import contextvars
import functools
import gc
import threading
import weakref

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.utils import ProgrammingError

from channels._runtime import database
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer
from channels.worker import Worker
from tests.asgi import Server
from tests.unit.layers.helpers import until

from .database_file import ALIAS, aquery, connected, database_file, forget, is_open, query


@pytest.fixture(autouse=True)
def allow_databases(django_db_blocker):
    """And do not look at connections that other tests have left open."""
    database.opened.clear()
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def file(tmp_path):
    """A database with Django's default: connections are for one request, or message."""
    with database_file(tmp_path / "test.sqlite3"):
        yield


@pytest.fixture
def lasting_file(tmp_path, monkeypatch):
    """One with lasting connections, and a check of their health that is true to its name."""

    def is_usable(self):
        try:
            self.connection.execute("SELECT 1")
        except Exception:
            return False
        return True

    monkeypatch.setattr(DatabaseWrapper, "is_usable", is_usable)
    options = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    with database_file(tmp_path / "test.sqlite3", **options):
        yield


@pytest.fixture
def watching():
    """What the test does is done as by an async handler."""
    token = database.watching.set(True)
    yield
    database.watching.reset(token)


@pytest.fixture
async def hops():
    """Calls that this event loop hands over to threads."""
    loop = asyncio.get_running_loop()
    run_in_executor, calls = loop.run_in_executor, []

    def count(executor, function, *args):
        calls.append(function)
        return run_in_executor(executor, function, *args)

    loop.run_in_executor = count
    return calls


def is_closed(connection):
    return not is_open(connection)


async def nothing():
    return None


async def test_an_application_without_a_database_never_hops(hops):
    async with connected() as do:
        for _ in range(20):
            await do(nothing)
    assert hops == []
    assert database.opened == {}


async def test_a_connection_of_one_message_is_closed_after_it(file):
    async with connected() as do:
        connection = await do(aquery)
        await until(lambda: not is_open(connection))
        again = await do(aquery)
        assert again is connection  # Django's object for the thread, connected anew
        await until(lambda: not is_open(connection))


async def test_it_is_closed_in_its_own_thread(file, monkeypatch):
    threads = []
    close = BaseDatabaseWrapper.close

    def note(self):
        if self.alias == ALIAS:
            threads.append(threading.get_ident())
        close(self)

    monkeypatch.setattr(DatabaseWrapper, "close", note)
    async with connected() as do:
        connection = await do(aquery)
        await until(lambda: not is_open(connection))
    assert threads == [connection._thread_ident]
    assert threads[0] != threading.get_ident()


async def test_handlers_cost_no_hop_after_the_database_was_closed(file, hops):
    async with connected() as do:
        connection = await do(aquery)
        await until(lambda: not is_open(connection))
        await do(nothing)
        hops.clear()
        for _ in range(10):
            await do(nothing)
    assert hops == []


async def test_a_lasting_connection_is_kept_and_costs_no_hops(lasting_file, hops):
    async with connected() as do:
        connection = await do(aquery)
        inner = connection.connection
        hops.clear()
        for _ in range(10):
            await do(nothing)
        assert hops == []
        await do(aquery)
        assert connection.connection is inner


async def test_what_the_end_of_a_worker_has_opened_is_closed(file):
    opened = []

    class Saving(AsyncConsumer):
        async def job(self, message):
            began.set()

        async def on_worker_shutdown(self):
            opened.append(await aquery())
            assert is_open(opened[0])

    layer, began = InMemoryChannelLayer(), asyncio.Event()
    worker = Worker(Saving.as_asgi(), ["jobs"], layer)
    task = asyncio.create_task(worker.handle())
    await layer.send("jobs", {"type": "job"})
    async with asyncio.timeout(10):
        await began.wait()
        worker.stop()
        await task
        await until(lambda: not is_open(opened[0]))
    assert not is_open(opened[0])


async def test_a_connection_past_its_age_is_closed_before_the_next_query(lasting_file):
    def which():
        return query().connection

    async with connected() as do:
        first = await do(sync_to_async(which))
        (connection,) = [reference() for reference in database.opened.values()]
        assert await do(sync_to_async(which)) is first
        connection.close_at = 0.0  # on the monotonic clock, long ago
        assert await do(sync_to_async(which)) is not first


async def test_a_connection_killed_between_messages_does_not_break_the_next_query(lasting_file):
    async with connected() as do:
        connection = await do(aquery)
        inner = connection.connection
        await sync_to_async(inner.close)()  # as the database server would
        await do(aquery)
        assert connection.connection is not inner


async def test_a_connection_that_failed_is_replaced(lasting_file):
    async def fail():
        connection = await aquery()
        await sync_to_async(connection.connection.close)()
        with pytest.raises(ProgrammingError):
            await aquery()
        return connection

    async with connected() as do:
        connection = await do(fail)
        await until(lambda: not is_open(connection))
        await do(aquery)


async def test_a_busy_database_thread_delays_no_other_handler(file):
    """One consumer's slow query, on a connection that is already due, delays no other consumer."""
    begun, finish = threading.Event(), threading.Event()

    def slow_query():
        connection = query()
        begun.set()
        finish.wait(10)
        return connection

    async with connected() as slow, connected() as quick:
        waiting = asyncio.create_task(slow(sync_to_async(slow_query)))
        await asyncio.to_thread(begun.wait, 5)
        try:
            for _ in range(5):
                await quick(nothing)
            assert not waiting.done()
        finally:
            finish.set()
        connection = await waiting
        await until(lambda: not is_open(connection))


async def test_closing_is_ordered_once_however_many_messages_pass_meanwhile(file, hops):
    begun, finish = threading.Event(), threading.Event()

    def slow_query():
        query()
        begun.set()
        finish.wait(10)

    async with connected() as slow, connected() as quick:
        waiting = asyncio.create_task(slow(sync_to_async(slow_query)))
        await asyncio.to_thread(begun.wait, 5)
        hops.clear()
        for _ in range(20):
            await quick(nothing)
        ordered = len(hops)
        finish.set()
        await waiting
    assert ordered == 1


async def test_what_is_opened_while_another_is_being_closed_is_closed_too(file, watching):
    """The thread opens the connection anew before the event loop hears that it was closed."""
    connection = await aquery()
    await database.release()  # the thread has the order
    again = threading.Event()
    task = asyncio.create_task(sync_to_async(lambda: (query(), again.set()))())
    await asyncio.sleep(0)  # and this after it
    assert again.wait(5)  # the event loop hears of both only now
    assert is_open(connection)
    await task
    await until(lambda: not is_open(connection))


async def test_handlers_of_two_consumers_on_one_connection(file):
    async with connected() as one, connected() as other:
        for _ in range(50):
            connection, same = await asyncio.gather(one(aquery), other(aquery))
            assert connection is same
            await until(functools.partial(is_closed, connection))


async def test_a_connection_inside_atomic_is_not_closed(file, watching, hops):
    def begin():
        connection = query()
        atomic = transaction.atomic(using=ALIAS)
        atomic.__enter__()
        return connection, atomic

    connection, atomic = await sync_to_async(begin)()
    hops.clear()
    connection.close_at, connection.health_check_done = None, True
    await database.release()
    assert connection.health_check_done  # or Django would check, and close, it in there
    connection.close_at = 0.0
    for _ in range(5):
        await database.release()
    assert hops == []
    assert is_open(connection)
    await sync_to_async(atomic.__exit__)(None, None, None)
    await database.release()
    await until(lambda: not is_open(connection))


def test_old_connections_of_this_thread_but_not_inside_atomic(file):
    connection = query()
    with transaction.atomic(using=ALIAS):
        database.close_old_connections()
        assert is_open(connection)
    database.close_old_connections()
    assert not is_open(connection)


def test_closing_opens_no_connection(file):
    database.close_old_connections()
    assert not hasattr(connections._connections, ALIAS)


async def test_what_sync_code_opens_is_not_watched(file):
    thread = threading.Thread(target=lambda: (query(), forget()))
    thread.start()
    thread.join()
    assert database.opened == {}


async def test_a_connection_of_another_thread_is_looked_at_once(file, hops):
    """No handler can close it, so it is not tried with each message."""
    begun, finish = threading.Event(), threading.Event()

    def elsewhere():
        query()
        begun.set()
        finish.wait(10)
        forget()

    async def open_elsewhere():
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, contextvars.copy_context().run, elsewhere)
        await asyncio.to_thread(begun.wait, 5)
        return future

    async with connected() as do:
        future = await do(open_elsewhere)
        await until(lambda: not database.opened)
        hops.clear()
        for _ in range(5):
            await do(nothing)
        assert hops == []
        finish.set()
        await future


@pytest.fixture
def memory():
    with database_file(":memory:"):
        yield


async def test_a_connection_that_does_not_close_is_tried_once(memory, hops):
    """Django never closes those of in-memory SQLite databases."""
    async with connected() as do:
        connection = await do(aquery)
        await until(lambda: not database.closing)
        assert is_open(connection)
        hops.clear()
        for _ in range(5):
            await do(nothing)
        assert hops == []


async def test_a_connection_that_was_collected_is_forgotten():
    class Connection:
        connection = object()

    connection = Connection()
    token = database.watching.set(True)
    try:
        connection_created.send(Connection, connection=connection)
        assert len(database.opened) == 1
        del connection
        gc.collect()
        assert database.opened == {}
    finally:
        database.watching.reset(token)


async def test_a_connection_that_fails_to_close_crashes_no_consumer(file, monkeypatch, caplog):
    def fail(self):
        raise RuntimeError("cannot close")

    async with connected() as do:
        with monkeypatch.context() as patch:
            patch.setattr(DatabaseWrapper, "_close", fail)
            await do(aquery)
            await until(lambda: "Closing old database connections failed" in caplog.text)
        await do(aquery)
        await do(nothing)


@pytest.mark.parametrize("last", [aquery, nothing])
def test_under_a_sync_caller_connections_are_its_own_and_nothing_hangs(file, last):
    """As in ``TestCase``. The event loop may end while the closing is still under way."""

    async def use():
        async with connected() as do:
            connection = await do(aquery)
            assert connection._thread_ident == threading.main_thread().ident
            await do(last)

    for _ in range(10):
        async_to_sync(use)()
    assert database.closing == {}


async def test_nothing_is_left_running(file):
    async with connected() as do:
        connection = await do(aquery)
        await until(lambda: not is_open(connection))
    await until(lambda: not database.closing)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("fails", [False, True])
async def test_what_the_last_handler_has_opened_is_closed(file, fails):
    opened = []

    class Consumer(AsyncWebsocketConsumer):
        async def disconnect(self, code):
            opened.append(await aquery())
            if fails:
                raise ValueError

    await (await Server(Consumer.as_asgi()).connect()).leave()
    await until(lambda: not is_open(opened[0]))


async def test_what_a_handler_that_failed_has_opened_is_closed_before_disconnect(file):
    opened, states = [], []

    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            opened.append(await aquery())
            raise ValueError

        async def disconnect(self, code):
            states.append(await sync_to_async(is_open)(opened[0]))

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: "websocket.close" in server.types())
    await server.leave()
    assert states == [False]


def test_a_connection_of_this_thread_that_may_stay_is_checked_before_it_is_used(lasting_file):
    connection = query()
    connection.health_check_done = True
    database.close_old_connections()
    assert is_open(connection)
    assert not connection.health_check_done


async def test_a_connection_that_is_opened_again_this_very_moment_is_not_forgotten():
    """By its own thread, between two looks at it."""

    class Connection:
        looks = 0

        @property
        def connection(self):
            self.looks += 1
            return None if self.looks == 1 else object()

    reopened = Connection()
    database.opened[id(reopened)] = weakref.ref(reopened)
    await database.release()
    assert id(reopened) in database.opened
    database.opened.clear()
