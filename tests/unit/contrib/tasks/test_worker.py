"""How a worker goes on, gives up and ends."""

import asyncio
import contextlib
import os
import signal
import threading
import weakref

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from channels._runtime import database
from channels._runtime.database import close_old_connections
from channels.contrib.tasks import WorkerFailed
from channels.contrib.tasks.memory import MemoryStore
from channels.contrib.tasks.options import TaskOptions
from channels.contrib.tasks.worker import TaskWorker
from channels.exceptions import BrokerError, BrokerUnavailable
from tests.asgi import until
from tests.conformance.tasks import jobs
from tests.ports import free_port


class Unreliable(MemoryStore):
    """Its broker fails as it is told to."""

    def __init__(self, options=None):
        super().__init__(options or TaskOptions())
        self.broken = None
        self.patience = 1000
        self.failures = 0
        self.asked = []

    def fail(self):
        self.failures += 1
        if self.failures > self.patience:
            self.broken = None
        if self.broken is not None:
            raise self.broken

    async def fetch(self, worker, queues, count, running=None, **options):
        self.asked.append((tuple(queues), running))
        self.fail()
        return await super().fetch(worker, queues, count, running, **options)

    async def leave(self, worker, queues, begun):
        self.fail()
        return await super().leave(worker, queues, begun)

    async def beat(self, worker, queues):
        self.fail()


class Backend:
    """As far as a worker knows one."""

    alias, queues = "default", {"default", "other"}

    def __init__(self, store, **options):
        self.store, self.config = store, TaskOptions(**options)


@pytest.fixture
async def worker():
    worker = TaskWorker(Backend(Unreliable()))
    worker.backoff = (0.0, 0.0)
    return worker


async def test_a_worker_goes_on_when_the_broker_does(worker):
    store = worker.store
    store.broken, store.patience = BrokerUnavailable("gone"), 5
    running = asyncio.create_task(worker.handle())
    await until(lambda: store.failures == 6)
    told = [running for _, running in store.asked]
    assert told == [None, *[[]] * 5], "the answer may have been lost"
    await until(lambda: not worker.failing)
    worker.stop()
    await running


async def test_a_worker_gives_up_in_the_end(worker, caplog):
    worker.store.broken = BrokerError("wrong password")
    with pytest.raises(WorkerFailed, match="cannot take tasks: wrong password"):
        await worker.handle()
    assert len(worker.store.asked) == worker.max_failures + 1
    assert "Taking tasks failed (10 of 10 in a row): wrong password" in caplog.text
    assert "The worker could not give back its tasks (BrokerError: wrong password)" in caplog.text


async def test_what_nobody_expects_ends_the_worker(worker):
    worker.store.broken = ZeroDivisionError("a mistake")
    with pytest.raises(WorkerFailed, match="ZeroDivisionError: a mistake"):
        await worker.handle()


async def test_each_queue_is_the_first_one_in_turn(worker):
    running = asyncio.create_task(worker.handle())
    await until(lambda: worker.store.asked)
    worker.store._ring()
    await until(lambda: len(worker.store.asked) > 1)
    worker.stop()
    await running
    assert [queues for queues, _ in worker.store.asked[:2]] == [
        ("default", "other"), ("other", "default"),
    ]  # fmt: skip


async def test_threads_that_never_end_end_the_worker(use):
    use(timeout=0.03, max_attempts=1)
    result = await jobs.wait.aenqueue()
    worker = TaskWorker(result.task.get_backend(), concurrency=1)
    with pytest.raises(WorkerFailed, match="hold all 1 slots"):
        await worker.handle()
    await result.arefresh()
    assert str(result.status) == "FAILED"


async def test_failures_of_an_unknown_task_are_logged(use, caplog, settings):
    backend = use(max_attempts=2)
    result = await jobs.add.aenqueue(1)
    path = "tests.conformance.tasks.jobs.of_a_newer_version"
    backend.store._records[result.id].payload = backend.store.codec.encode_call(
        result.id, path, [], {}
    )
    worker = TaskWorker(backend)
    running = asyncio.create_task(worker.handle())
    await until(lambda: backend.store.find(result.id).status == "FAILED")
    await until(lambda: f"The task {path} ({result.id}) has failed" in caplog.text)
    assert f"Attempt 1 of 2 at the task {path} ({result.id}) failed" in caplog.text
    worker.stop()
    await running


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_an_async_task_has_broken_is_closed(use, monkeypatch):
    backend = use()
    closed = []

    def close():
        close_old_connections()
        closed.append(1)

    monkeypatch.setattr("channels._runtime.database.close_old_connections", close)

    def open_as_async_code():
        """Other tests may have opened the connection of this thread, which stays open."""
        connection = connections["default"]
        connection.ensure_connection()
        monkeypatch.setitem(database.opened, id(connection), weakref.ref(connection))

    async def main():
        await sync_to_async(open_as_async_code)()
        worker = TaskWorker(backend)
        running = asyncio.create_task(worker.handle())
        result = await jobs.query.aenqueue()
        while not result.is_finished:
            await asyncio.sleep(0.002)
            await result.arefresh()
        await until(lambda: closed)
        worker.stop()
        await running
        assert result.return_value is True

    asyncio.run(main())


async def test_a_thread_that_is_late_is_left_behind(use, caplog):
    use()
    result = await jobs.wait.aenqueue()
    worker = TaskWorker(result.task.get_backend())
    worker.drain_timeout = 0.02
    running = asyncio.create_task(worker.handle())
    await until(lambda: jobs.ran)
    worker.stop()
    await running
    assert "was still running 0.02 s after the worker was told to stop" in caplog.text
    await result.arefresh()
    assert (str(result.status), result.attempts) == ("READY", 1)


def is_handled(number):
    """A thread of a test before may have run a task, too."""
    return signal.getsignal(number) is not signal.SIG_DFL


def test_the_first_signal_drains_and_the_second_ends_it(use, monkeypatch):
    backend = use()
    ended = []
    monkeypatch.setattr("os._exit", ended.append)

    async def main():
        worker = TaskWorker(backend)
        await jobs.await_release.aenqueue()
        running = asyncio.create_task(worker.arun())
        await until(lambda: jobs.ran and is_handled(signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGTERM)
        await until(worker._stopping.is_set)
        while not ended:  # those that come at once are the same request
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.05)
        assert set(ended) == {1}
        jobs.release.set()
        await running

    asyncio.run(main())


def test_run_serves_until_it_is_told_to_stop(use):
    worker = TaskWorker(use())
    result = jobs.add.enqueue(1)

    def watch(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)

    from channels.contrib.tasks.compat import task_finished

    task_finished.connect(watch)
    try:
        worker.run()
    finally:
        task_finished.disconnect(watch)
    result.refresh()
    assert result.return_value == 1


async def test_a_worker_says_whether_it_is_well(use, tmp_path):
    worker = TaskWorker(use())
    worker.health_file, worker.health_port = tmp_path / "health", free_port()
    running = asyncio.create_task(worker.arun())

    async def status():
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{worker.health_port}/healthz"
            with contextlib.suppress(httpx.ConnectError):
                return (await client.get(url)).status_code

    await until(worker.health_file.exists)
    async with asyncio.timeout(5):
        while await status() != 200:
            await asyncio.sleep(0.01)
    worker.failing.append("taking tasks")
    assert await status() == 503
    worker.stop()
    await running
    assert not worker.health_file.exists()


def test_a_worker_may_be_told_to_stop_before_it_runs(use):
    result = jobs.await_for_ever.enqueue() if use() else None
    worker = TaskWorker(result.task.get_backend())
    worker.drain_timeout = 0.0
    worker.stop_soon()
    worker.run()
    result.refresh()
    assert not result.is_finished


def test_a_worker_in_a_thread_leaves_signals_alone(use):
    worker = TaskWorker(use())
    thread = threading.Thread(target=worker.run)
    before = signal.getsignal(signal.SIGTERM)
    result = jobs.stop_worker.enqueue()
    jobs.workers["here"] = worker
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    worker.stop_soon()  # nor any more
    result.refresh()
    assert result.return_value is None
    assert signal.getsignal(signal.SIGTERM) is before
