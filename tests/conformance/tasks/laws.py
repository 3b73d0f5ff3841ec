"""What Django promises of a backend, and what this one promises besides, on every store."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.contrib.tasks import ChannelsBackend, InvalidResult, QueueFull, TaskTimeout
from channels.contrib.tasks.compat import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from channels.contrib.tasks.worker import TaskWorker
from channels.exceptions import ChannelsError, EventLoopRunning, MessageTooLarge, SerializationError
from channels.layers.carriers import register, unregister
from tests.asgi import until

from . import jobs

OPTIONS = {"backoff": (0, 0.01), "autostart": False}


async def finished(*results):
    """Wait until results are there."""
    for result in results:
        async with asyncio.timeout(60):
            while not result.is_finished:
                await result.arefresh()
                await asyncio.sleep(0.002)


class TaskLaws:
    """A subclass has a fixture ``layers``, which returns what CHANNEL_LAYERS is to be."""

    @pytest.fixture(autouse=True)
    def fresh(self):
        jobs.ran.clear()
        jobs.release.clear()
        yield
        jobs.release.set()

    @pytest.fixture
    def use(self, settings, layers):
        """Configure the backend."""

        def use(queues=("default", "other"), **options):
            settings.CHANNEL_LAYERS = layers
            settings.TASKS = {
                "default": {
                    "BACKEND": "channels.contrib.tasks.ChannelsBackend",
                    "QUEUES": list(queues),
                    "OPTIONS": OPTIONS | options,
                }
            }
            return task_backends["default"]

        return use

    @pytest.fixture
    async def backend(self, use):
        backend = use()
        yield backend
        await backend.store.aclose()

    @pytest.fixture
    def signalled(self):
        """The signals that are sent: their names, and the state of the result."""
        seen = []
        receivers = {}
        for name, signal in (
            ("enqueued", task_enqueued),
            ("started", task_started),
            ("finished", task_finished),
        ):

            def receive(sender, task_result, name=name, **kwargs):
                assert sender is ChannelsBackend
                seen.append((name, task_result.id, str(task_result.status)))

            receivers[name] = receive
            signal.connect(receive)
        yield seen
        for name, signal in (
            ("enqueued", task_enqueued),
            ("started", task_started),
            ("finished", task_finished),
        ):
            signal.disconnect(receivers[name])

    @contextlib.asynccontextmanager
    async def working(self, **options):
        """A worker, on the test's event loop."""
        worker = TaskWorker(task_backends["default"], **options)
        running = asyncio.create_task(worker.handle())
        try:
            yield worker
        finally:
            jobs.release.set()
            worker.stop()
            async with asyncio.timeout(20):
                await asyncio.gather(running, return_exceptions=True)
        if not isinstance(running.exception(), ChannelsError | None):
            raise running.exception()

    # The contract

    async def test_the_backend_can_do_everything(self, backend):
        assert backend.supports_defer
        assert backend.supports_async_task
        assert backend.supports_get_result
        assert backend.supports_priority
        assert backend.check() == []

    async def test_a_task_runs_and_its_result_can_be_asked_for(self, backend):
        before = datetime.now(UTC) - timedelta(seconds=1)
        result = await jobs.add.aenqueue(1, b=2)
        assert result.status == TaskResultStatus.READY
        assert len(result.id) <= 64
        assert result.enqueued_at > before
        assert (result.started_at, result.finished_at, result.worker_ids) == (None, None, [])
        assert not result.is_finished
        with pytest.raises(ValueError, match="not finished"):
            _ = result.return_value
        waiting = await jobs.add.aget_result(result.id)
        assert waiting == result
        async with self.working() as worker:
            await finished(result)
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert result.return_value == 3
        assert result.worker_ids == [worker.id]
        assert result.attempts == 1
        assert result.errors == []
        assert before < result.enqueued_at <= result.started_at <= result.finished_at
        assert result.last_attempted_at == result.started_at
        assert (result.args, result.kwargs, result.backend) == ([1], {"b": 2}, "default")
        again = await asyncio.to_thread(jobs.add.get_result, result.id)
        assert again == result

    async def test_sync_code_enqueues_and_asks_for_the_result(self, backend):
        result = await asyncio.to_thread(jobs.aadd.enqueue, 20, 1)
        async with self.working():
            await finished(result)
            await asyncio.to_thread(result.refresh)
        assert result.return_value == 21

    async def test_a_blocking_call_on_an_event_loop_is_refused(self, backend):
        with pytest.raises(EventLoopRunning, match="await"):
            jobs.add.enqueue(1)
        result = await jobs.add.aenqueue(1)
        with pytest.raises(EventLoopRunning, match="await"):
            result.refresh()

    async def test_an_unknown_result_does_not_exist(self, backend):
        for unknown in ("0" * 32, "", "x" * 200, "ß:{}*", "0" * 31 + "z"):
            with pytest.raises(TaskResultDoesNotExist):
                await backend.aget_result(unknown)
            with pytest.raises(TaskResultDoesNotExist):
                await asyncio.to_thread(backend.get_result, unknown)

    async def test_the_signals_are_sent(self, backend, signalled):
        async with self.working():
            for job in (jobs.add, jobs.aadd):
                result = await job.aenqueue(1, 2)
                await finished(result)
                await until(lambda: len(signalled) == 3)
                # A worker may be faster than who enqueues comes to tell of it.
                assert set(signalled) == {
                    ("enqueued", result.id, "READY"),
                    ("started", result.id, "RUNNING"),
                    ("finished", result.id, "SUCCESSFUL"),
                }
                signalled.clear()

    async def test_the_signals_of_a_task_that_fails(self, backend, signalled):
        async with self.working():
            result = await jobs.fail.aenqueue()
            await finished(result)
            await until(lambda: len(signalled) == 5)
        names = [name for name, _, _ in signalled]
        assert sorted(names) == ["enqueued", "finished", *["started"] * 3]
        assert signalled[-1] == ("finished", result.id, "FAILED")

    async def test_what_travels_beside_a_task_is_there_in_each_attempt(self, backend):
        def carrier(sending):
            return {"operation": sending.operation, "name": sending.name}, None

        register(carrier)
        try:
            results = [await job.aenqueue() for job in (jobs.sees, jobs.asees)]
            results.append(await asyncio.to_thread(jobs.sees.enqueue))
        finally:
            unregister(carrier)
        results.append(await jobs.sees.aenqueue())
        async with self.working():
            await finished(*results)
        name = f"{jobs.__name__}.sees"
        assert [result.return_value for result in results] == [
            {"operation": "enqueue", "name": name},
            {"operation": "enqueue", "name": f"{jobs.__name__}.asees"},
            {"operation": "enqueue", "name": name},
            {},
        ]

    async def test_a_task_is_given_its_context(self, backend):
        async with self.working():
            result = await jobs.describe.aenqueue(1, a=[2, None])
            await finished(result)
        assert result.return_value == [result.id, "RUNNING", [1], {"a": [2, None]}, 1]

    async def test_a_task_is_run_with_what_it_was_enqueued_with(self, backend):
        job = jobs.add.using(priority=7, queue_name="other")
        result = await job.aenqueue(1)
        found = await backend.aget_result(result.id)
        assert found.task == job
        with pytest.raises(Exception, match="not valid for backend"):
            jobs.add.using(queue_name="no such queue")
        with pytest.raises(Exception, match="priority"):
            jobs.add.using(priority=101)

    # Order and time

    @pytest.mark.parametrize("job", ["note", "anote"])
    async def test_higher_priorities_come_first_and_first_come_first_served(self, backend, job):
        job = getattr(jobs, job)
        results = [
            await job.using(priority=priority).aenqueue(f"{priority}.{number}")
            for number in range(3)
            for priority in (0, 100, -100, 5)
        ]
        async with self.working(concurrency=1):
            await finished(*results)
        order = [f"{priority}.{number}" for priority in (100, 5, 0, -100) for number in range(3)]
        assert jobs.ran == order

    async def test_a_deferred_task_runs_when_it_is_due_and_not_before(self, backend):
        async with self.working():
            late = datetime.now(UTC) - timedelta(days=1)
            far = datetime.now(UTC) + timedelta(hours=1)
            await jobs.note.using(run_after=far).aenqueue("far")
            first = await jobs.note.using(run_after=late).aenqueue("late")
            await finished(first)
            assert jobs.ran == ["late"]
            assert (await backend.store.counts("default")).deferred == 1
            due = datetime.now(UTC) + timedelta(seconds=0.4)
            last = await jobs.note.using(run_after=due).aenqueue("deferred")
            await finished(last)
            assert jobs.ran == ["late", "deferred"]
        assert last.started_at >= due
        assert last.started_at < due + timedelta(seconds=10)
        assert (await backend.aget_result(last.id)).task.run_after == due

    async def test_a_new_task_does_not_wait_for_one_that_is_due_later(self, backend):
        async with self.working():
            await jobs.note.using(run_after=datetime.now(UTC) + timedelta(hours=1)).aenqueue("x")
            await asyncio.sleep(0.05)
            soon = datetime.now(UTC) + timedelta(seconds=0.1)
            result = await jobs.note.using(run_after=soon).aenqueue("soon")
            await finished(result)
        assert jobs.ran == ["soon"]

    async def test_tasks_run_at_the_same_time(self, backend):
        async with self.working(concurrency=4):
            results = [await jobs.wait.aenqueue() for _ in range(4)]
            await until(lambda: jobs.ran == ["waits"] * 4)
            one_more = await jobs.add.aenqueue(1)
            await asyncio.sleep(0.05)
            await one_more.arefresh()
            assert one_more.status == TaskResultStatus.READY
            jobs.release.set()
            await finished(*results, one_more)

    async def test_a_worker_takes_tasks_of_its_queues_only(self, backend):
        other = await jobs.note.using(queue_name="other").aenqueue("other")
        async with self.working(queues=["default"]):
            await finished(await jobs.note.aenqueue("default"))
        assert jobs.ran == ["default"]
        async with self.working(queues=["default", "other"]):
            await finished(other)

    # Failures

    @pytest.mark.parametrize("job", ["fail", "afail"])
    async def test_a_task_that_fails_is_tried_again_and_then_dead(self, backend, job):
        result = await getattr(jobs, job).aenqueue("the reason")
        async with self.working() as worker:
            await finished(result)
        assert result.status == TaskResultStatus.FAILED
        assert result.worker_ids == [worker.id] * 3
        assert [error.exception_class for error in result.errors] == [ValueError] * 3
        assert "the reason" in result.errors[0].traceback
        assert "worker.py" not in result.errors[0].traceback
        assert result.started_at < result.last_attempted_at <= result.finished_at
        with pytest.raises(ValueError, match="failed"):
            _ = result.return_value
        counts = await backend.store.counts("default")
        assert (counts.dead, counts.failed, counts.retried) == (1, 1, 2)
        assert (counts.waiting, counts.deferred, counts.running) == (0, 0, 0)

    async def test_a_task_that_fails_may_succeed_later(self, backend):
        result = await jobs.fail_until.aenqueue(3)
        async with self.working():
            await finished(result)
        assert result.return_value == 3
        assert [error.exception_class for error in result.errors] == [LookupError] * 2
        assert (await backend.store.counts("default")).succeeded == 1

    @pytest.mark.parametrize(
        ("job", "kind"),
        [
            ("leave", "builtins.SystemExit"),
            ("cancel_itself", "asyncio.exceptions.CancelledError"),
            ("stop_iteration", "builtins.RuntimeError"),
            ("time_out", "builtins.TimeoutError"),
            ("atime_out", "builtins.TimeoutError"),
        ],
    )
    async def test_whatever_a_task_raises_is_its_failure(self, use, job, kind):
        for timeout in (None, 20):
            use(max_attempts=1, timeout=timeout)
            async with self.working():
                result = await getattr(jobs, job).aenqueue()
                await finished(result)
                assert [error.exception_class_path for error in result.errors] == [kind]
                await finished(await jobs.add.aenqueue(1))

    async def test_an_exception_that_nobody_can_import_is_kept_by_its_name(self, use):
        use(max_attempts=1)
        async with self.working():
            result = await jobs.raise_local.aenqueue()
            await finished(result)
        assert result.errors[0].exception_class_path.endswith("raise_local.<locals>.Local")
        with pytest.raises(ImportError):
            _ = result.errors[0].exception_class

    @pytest.mark.parametrize("what", ["set", "object", "bytes", "big", "half"])
    async def test_a_result_that_cannot_be_kept_is_a_failure_and_not_repeated(self, backend, what):
        async with self.working():
            result = await jobs.give.aenqueue(what)
            await finished(result)
        assert result.attempts == 1
        assert result.errors[0].exception_class is InvalidResult

    async def test_results_are_json(self, backend):
        async with self.working():
            results = [await jobs.give.aenqueue(what) for what in ("tuple", "text")]
            await finished(*results)
        assert [result.return_value for result in results] == [[1, 2], "text"]

    async def test_a_result_may_be_too_large(self, use):
        use(max_bytes=1000)
        async with self.working():
            small, large = [await jobs.give_large.aenqueue(size) for size in (500, 2000)]
            await finished(small, large)
        assert small.return_value == "x" * 500
        assert large.errors[0].exception_class is InvalidResult
        assert "max_bytes" in large.errors[0].traceback

    async def test_arguments_that_cannot_be_kept_are_refused(self, use):
        backend = use(max_bytes=1000)
        for bad, error in (
            (object(), TypeError),
            ({1, 2}, TypeError),
            (b"\xff", ValueError),
            (2**70, SerializationError),
            ("\ud800", SerializationError),
            ("x" * 2000, MessageTooLarge),
        ):
            with pytest.raises(error):
                await jobs.add.aenqueue(bad)
            with pytest.raises(error):
                await asyncio.to_thread(jobs.add.enqueue, 1, b=bad)
        assert (await backend.store.counts("default")).waiting == 0

    async def test_a_full_queue_refuses_tasks(self, use):
        backend = use(capacity=2)
        later = datetime.now(UTC) + timedelta(hours=1)
        kept = await jobs.add.aenqueue(1)
        await jobs.add.using(run_after=later).aenqueue(1)
        with pytest.raises(QueueFull, match="2 tasks"):
            await jobs.add.aenqueue(1)
        await jobs.add.using(queue_name="other").aenqueue(1)
        async with self.working():
            await finished(kept)
            assert (await backend.store.counts("default")).deferred == 1
            await finished(await jobs.add.aenqueue(1))

    async def test_an_async_task_that_does_not_end_is_cancelled(self, use):
        use(timeout=0.05, max_attempts=2)
        async with self.working(concurrency=1):
            result = await jobs.await_for_ever.aenqueue()
            await finished(result)
            await finished(await jobs.add.aenqueue(1))
        assert [error.exception_class for error in result.errors] == [TaskTimeout] * 2
        assert "await_for_ever has run for 0.05 s" in result.errors[0].traceback

    async def test_a_thread_that_does_not_end_keeps_its_slot(self, use):
        use(timeout=0.05, max_attempts=1)
        async with self.working(concurrency=2):
            result = await jobs.wait.aenqueue()
            await finished(result)
            assert result.errors[0].exception_class is TaskTimeout
            assert "cannot be stopped" in result.errors[0].traceback
            await finished(*[await jobs.aadd.aenqueue(1) for _ in range(4)])
            jobs.release.set()
            await until(lambda: jobs.ran == ["waits", "waited"])
            await result.arefresh()
            assert result.status == TaskResultStatus.FAILED

    async def test_each_task_in_a_thread_has_fresh_context_variables(self, backend):
        async with self.working(concurrency=1):
            results = [await jobs.context_variable.aenqueue() for _ in range(3)]
            await finished(*results)
        assert [result.return_value for result in results] == ["fresh"] * 3

    # Dead letters

    async def test_dead_letters_can_be_sent_again(self, use):
        backend = use(max_attempts=1)
        result = await jobs.fail_until.aenqueue(2)
        async with self.working():
            await finished(result)
        assert result.status == TaskResultStatus.FAILED
        letters = await backend.store.dead("default", 10)
        assert [letter.id for letter in letters] == [result.id]
        assert await backend.store.revive("default", [result.id, "unknown", result.id]) == 1
        assert await backend.store.dead("default", 10) == []
        again = await backend.aget_result(result.id)
        assert (again.status, again.finished_at) == (TaskResultStatus.READY, None)
        async with self.working():
            await finished(again)
        assert again.return_value == 2
        assert again.attempts == 2
        assert await backend.store.revive("default", [result.id]) == 0

    async def test_dead_letters_can_be_deleted(self, use):
        backend = use(max_attempts=1)
        async with self.working():
            results = [await jobs.fail.aenqueue() for _ in range(2)]
            await finished(*results)
        ids = [result.id for result in results]
        assert await backend.store.bury("default", [ids[0], ids[0], "unknown"]) == 1
        with pytest.raises(TaskResultDoesNotExist):
            await backend.aget_result(ids[0])
        assert [letter.id for letter in await backend.store.dead("default", 10)] == [ids[1]]

    async def test_dead_letters_are_bounded_and_the_rest_is_counted(self, use):
        backend = use(max_attempts=1, dead_letters=2, concurrency=1)
        async with self.working():
            results = [await jobs.fail.aenqueue(str(number)) for number in range(5)]
            await finished(*results)
        letters = await backend.store.dead("default", 10)
        assert [letter.id for letter in letters] == [result.id for result in results[3:]]
        assert [letter.id for letter in await backend.store.dead("default", 1)] == [results[3].id]
        counts = await backend.store.counts("default")
        assert (counts.dead, counts.dropped, counts.failed) == (2, 3, 5)
        assert (await backend.aget_result(results[0].id)).status == TaskResultStatus.FAILED

    async def test_results_expire_but_not_dead_letters(self, use):
        backend = use(result_ttl=0.2, max_attempts=1)
        async with self.working():
            result, failed = await jobs.add.aenqueue(1), await jobs.fail.aenqueue()
            await finished(result, failed)
        async with asyncio.timeout(5):
            with pytest.raises(TaskResultDoesNotExist):
                while True:
                    await backend.aget_result(result.id)
                    await asyncio.sleep(0.01)
        assert (await backend.aget_result(failed.id)).status == TaskResultStatus.FAILED

    async def test_it_is_told_how_long_tasks_have_waited(self, backend):
        async def longest_wait():
            return (await backend.store.counts("default")).longest_wait

        assert await longest_wait() == 0
        await jobs.add.using(priority=-5).aenqueue(1)
        async with asyncio.timeout(5):
            while not 0.02 < await longest_wait() < 60:
                await asyncio.sleep(0.005)
        later = await jobs.add.using(priority=5).aenqueue(2)
        assert 0.02 < await longest_wait() < 60
        (first,) = await backend.store.fetch("worker", ["default"], 1)
        assert first.record.id == later.id
        assert 0.02 < await longest_wait() < 60, "the other one still waits"
        await backend.store.fetch("worker", ["default"], 1)
        assert await longest_wait() == 0

    # The end of a worker

    async def test_a_worker_that_is_told_to_stop_lets_tasks_finish(self, backend):
        async with self.working(concurrency=1) as worker:
            running = await jobs.await_release.aenqueue()
            await until(lambda: jobs.ran)
            waiting = await jobs.add.aenqueue(1)
            worker.stop()
            await asyncio.sleep(0.02)
        await running.arefresh()
        await waiting.arefresh()
        assert running.return_value == "waited"
        assert waiting.status == TaskResultStatus.READY

    async def test_what_does_not_finish_in_time_is_begun_anew_by_another(self, backend):
        async with self.working(concurrency=2) as first:
            first.drain_timeout = 0.02
            result = await jobs.await_for_ever.aenqueue()
            await until(lambda: jobs.ran)
        await result.arefresh()
        assert result.status == TaskResultStatus.READY
        assert result.worker_ids == [first.id]
        counts = await backend.store.counts("default")
        assert (counts.waiting, counts.running) == (1, 0)
        async with self.working() as second:
            second.drain_timeout = 0.02
            await until(lambda: len(jobs.ran) == 2)
        await result.arefresh()
        assert result.worker_ids == [first.id, second.id]

    async def test_what_a_worker_has_not_begun_is_given_back_without_an_attempt(self, backend):
        result = await jobs.add.aenqueue(1)
        store = backend.store
        (taken,) = await store.fetch("gone", ["default"], 1)
        assert taken.record.worker_ids == ["gone"]
        assert await store.leave("gone", ["default"], []) == 1
        await result.arefresh()
        assert (result.status, result.worker_ids) == (TaskResultStatus.READY, [])
        async with self.working():
            await finished(result)
        assert result.attempts == 1

    async def test_wrong_options_are_told_by_the_check(self, use):
        backend = use(capacty=1)
        (error,) = backend.check()
        assert error.id == "channels.tasks.E001"
        assert "did you mean 'capacity'" in error.msg
        with pytest.raises(ImproperlyConfigured):
            await jobs.add.aenqueue(1)
