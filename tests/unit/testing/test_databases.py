"""Sharing the test's databases with other threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, connections, transaction

from channels.testing.databases import shared_with_threads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def shared():
    with shared_with_threads(["default"]):
        yield


def count() -> int:
    return Group.objects.count()


class TestInMemory:
    def test_other_threads_use_the_test_s_database(self, shared, pool):
        Group.objects.create(name="test")
        assert pool.submit(count).result() == 1
        pool.submit(Group.objects.create, name="thread").result()
        assert count() == 2
        assert pool.submit(lambda: connection.connection).result() is connection.connection

    def test_the_test_keeps_its_connection_objects(self):
        before = connections["default"]
        with shared_with_threads(["default"]):
            assert connections["default"] is before
        assert connections["default"] is before

    async def test_also_while_an_event_loop_runs_in_its_thread(self, monkeypatch):
        """As with Playwright's synchronous interface."""
        monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with shared_with_threads(["default"]):
            Group.objects.create(name="test")
            database = connection.connection
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(count).result() == 1
                assert pool.submit(lambda: connection.connection).result() is database
            Group.objects.all().delete()

    def test_a_thread_waits_for_another_one_s_transaction(self, shared, pool):
        with transaction.atomic():
            Group.objects.create(name="test")
            waiting = pool.submit(count)
            with pytest.raises(TimeoutError):
                waiting.result(0.05)
            transaction.set_rollback(True)
        assert waiting.result(5) == 0

    def test_nested_atomic_blocks_give_the_turn_back_once(self, shared, pool):
        with transaction.atomic(), transaction.atomic():
            Group.objects.create(name="test")
        assert pool.submit(count).result(5) == 1

    def test_a_transaction_that_fails_gives_the_turn_back(self, shared, pool):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Group.objects.create(name="test")
            raise ZeroDivisionError
        assert pool.submit(count).result(5) == 0

    def test_a_transaction_that_cannot_begin_gives_the_turn_back(self, shared, pool):
        def refuse_to_begin(execute, sql, params, many, context):
            if sql.startswith("BEGIN"):
                raise OperationalError("the disk is full")
            return execute(sql, params, many, context)

        with (
            connection.execute_wrapper(refuse_to_begin),
            pytest.raises(OperationalError, match="the disk is full"),
            transaction.atomic(),
        ):
            pytest.fail("must not be entered")
        assert pool.submit(count).result(5) == 0

    def test_autocommit_may_be_switched_off_and_on(self, shared, pool):
        transaction.set_autocommit(False)
        Group.objects.create(name="test")
        waiting = pool.submit(count)
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        transaction.rollback()
        transaction.set_autocommit(True)
        assert waiting.result(5) == 0

    def test_a_thread_s_first_query_does_not_end_another_one_s_transaction(self, shared, pool):
        inside, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                Group.objects.create(name="undone")
                inside.set()
                go_on.wait(5)
                transaction.set_rollback(True)

        holding = pool.submit(hold)
        inside.wait(5)
        first = pool.submit(count)
        go_on.set()
        holding.result(5)
        assert first.result(5) == 0

    def test_patience_ends_with_an_error_that_says_why(self, pool, monkeypatch):
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.05)
        with shared_with_threads(["default"]), transaction.atomic():
            with pytest.raises(OperationalError, match="another thread has had a transaction"):
                pool.submit(count).result(5)
            with pytest.raises(OperationalError, match=r"atomic\(\)"):
                pool.submit(live_transaction).result(5)
        assert count() == 0

    def test_a_statement_is_over_when_its_turn_is(self, shared, pool):
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO auth_group (name) VALUES ('a'), ('b') RETURNING name")
            assert pool.submit(live_transaction).result(5) is None  # which opens a savepoint
            assert cursor.fetchone() == ("a",)
            assert cursor.fetchall() == [("b",)]

    def test_cursors_give_rows_as_ever(self, shared):
        for name in "abcdef":
            Group.objects.create(name=name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM auth_group ORDER BY name")
            assert [column[0] for column in cursor.description] == ["name"]
            assert cursor.fetchone() == ("a",)
            assert cursor.fetchmany() == [("b",)]
            assert cursor.fetchmany(2) == [("c",), ("d",)]
            assert list(cursor) == [("e",), ("f",)]
            assert cursor.fetchone() is None
            assert cursor.fetchall() == []
            cursor.execute("DELETE FROM auth_group WHERE name < %s", ["c"])
            assert cursor.rowcount == 2
        found = Group.objects.order_by("name")
        assert [group.name for group in found.iterator(chunk_size=2)] == list("cdef")

    def test_at_the_end_everything_is_as_before(self, pool):
        before = connections["default"]
        kind, attributes = type(before), {**vars(before), "execute_wrappers": []}
        usual = connections._connections
        with shared_with_threads(["default"]):
            pool.submit(count).result()
        assert connections["default"] is before
        assert type(before) is kind
        assert set(vars(before)) == set(attributes)
        assert before.execute_wrappers == []
        assert connections._connections is usual

    def test_a_thread_that_had_a_connection_has_it_again(self, pool):
        had = pool.submit(lambda: connections["default"]).result()
        with shared_with_threads(["default"]):
            assert pool.submit(lambda: connections["default"]).result() is not had
        assert pool.submit(lambda: connections["default"]).result() is had


class TestOthers:
    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        """The alias of a database in a file."""
        other = {**connections.databases["default"], "NAME": str(tmp_path / "other.sqlite3")}
        monkeypatch.setitem(connections.databases, "other", other)
        connections["other"].connect()
        yield "other"
        connections["other"].close()
        del connections["other"]

    def open(self, alias):
        connections[alias].connect()
        return connections[alias]

    def test_each_thread_has_its_own_connection_until_the_end(self, file, pool):
        with shared_with_threads(["default", file]):
            theirs = pool.submit(self.open, file).result()
            assert theirs is not connections[file]
            assert theirs.connection is not connections[file].connection
        assert theirs.connection is None
        assert connections[file].connection is not None

    def test_connections_of_threads_that_have_ended_are_closed_too(self, file):
        with shared_with_threads(["default", file]):
            with ThreadPoolExecutor(1) as pool:
                theirs = pool.submit(self.open, file).result()
            assert theirs.connection is not None
        assert theirs.connection is None

    def test_what_the_test_may_not_use_is_not_shared(self, pool):
        with shared_with_threads([]):
            theirs = pool.submit(lambda: connections["default"]).result()
            assert type(theirs) is type(connections["default"])
            assert theirs is not connections["default"]


def live_transaction() -> None:
    with transaction.atomic(), transaction.atomic():
        Group.objects.create(name="thread")
