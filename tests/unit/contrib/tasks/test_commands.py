"""The commands: a worker of a broker's tasks, their counts, and dead letters."""

import json
import re
import signal
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from channels.contrib.tasks import TaskWorker, WorkerFailed
from channels.contrib.tasks.compat import task_backends, task_finished
from channels.contrib.tasks.looking import ask
from channels.contrib.tasks.management.commands import runtasks, tasks_dead, tasks_status
from channels.exceptions import BrokerUnavailable
from tests.brokers import running
from tests.conformance.tasks import jobs

pytestmark = pytest.mark.server

# Where Django's tasks framework is.
DJANGO = jobs.add.__class__.__module__.rpartition(".")[0]


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
def backend(settings, broker):
    broker.cli("FLUSHALL")
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.redis.RedisChannelLayer",
            "CONFIG": {"hosts": [broker.url]},
        },
        "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }
    path = "channels.contrib.tasks.ChannelsBackend"
    settings.TASKS = {
        "default": {
            "BACKEND": path, "QUEUES": ["default", "other"], "OPTIONS": {"max_attempts": 1},
        },
        "any": {"BACKEND": path, "QUEUES": []},
        "memory": {"BACKEND": path, "OPTIONS": {"layer": "memory"}},
        "wrong": {"BACKEND": path, "OPTIONS": {"layers": "memory"}},
        "foreign": {"BACKEND": "no.such.Backend"},
    }  # fmt: skip
    return task_backends["default"]


def run(command, *arguments, **options):
    """Run a command, and return what it says."""
    out = StringIO()
    call_command(command, *arguments, stdout=out, **options)
    return out.getvalue()


def work_off(backend, count):
    """Run a worker until ``count`` tasks have been finished."""
    worker = TaskWorker(backend)
    left = [count]

    def receive(**kwargs):
        left[0] -= 1
        if not left[0]:
            worker.stop_soon()

    task_finished.connect(receive)
    thread = threading.Thread(target=worker.run)
    try:
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        task_finished.disconnect(receive)


class TestStatus:
    def test_the_counts_are_shown(self, backend):
        jobs.add.enqueue(1)
        shown = run(tasks_status.Command())
        assert re.match(
            r"default:  waiting 1  longest_wait [\d.]+  deferred 0  running 0  dead 0", shown
        )
        assert shown.splitlines()[1].startswith("other:  waiting 0")

    def test_as_json(self, backend):
        counts = json.loads(run(tasks_status.Command(), "--json", "--queue", "other"))
        assert list(counts) == ["other"]
        assert counts["other"]["succeeded"] == 0


class TestDead:
    def test_there_may_be_none(self, backend):
        assert run(tasks_dead.Command()) == "0 tasks.\n"
        assert json.loads(run(tasks_dead.Command(), "--json")) == []

    def test_they_are_shown_sent_again_and_deleted(self, backend, caplog):
        results = [jobs.fail.enqueue(f"reason {number}") for number in range(3)]
        work_off(backend, 3)
        shown = run(tasks_dead.Command())
        assert f"{results[0].id}  default" in shown
        assert "tests.conformance.tasks.jobs.fail  1 attempts" in shown
        assert "ValueError: reason 1" in shown
        assert shown.endswith("3 tasks.\n")
        assert run(tasks_dead.Command(), "--limit", "1").endswith("1 tasks.\n")
        assert run(tasks_dead.Command(), "--queue", "other") == "0 tasks.\n"
        letters = {
            letter["id"]: letter for letter in json.loads(run(tasks_dead.Command(), "--json"))
        }
        letter = letters[results[2].id]
        assert letter["args"] == ["reason 2"]
        assert letter["errors"][0]["exception"] == "builtins.ValueError"
        assert letter["failed_at"]
        assert run(tasks_dead.Command(), "--delete", results[0].id) == "1 tasks were deleted.\n"
        with pytest.raises(CommandError, match="1 of these are no dead letters"):
            call_command(tasks_dead.Command(), "--retry", results[0].id, results[1].id)
        assert run(tasks_dead.Command(), "--retry", "--all") == "1 tasks were enqueued again.\n"
        work_off(backend, 2)
        assert run(tasks_dead.Command(), "--delete", "--all") == "2 tasks were deleted.\n"

    def test_what_cannot_be_read_is_shown_all_the_same(self, backend, broker):
        result = jobs.fail.enqueue()
        work_off(backend, 1)
        with broker.client() as client:
            client.hset("{asgi:0}:tasks:default:t:" + result.id, "p", b"rubbish")
        assert "cannot be decoded" in run(tasks_dead.Command())
        with broker.client() as client:
            client.hset("{asgi:0}:tasks:default:t:" + result.id, "y", b"rubbish")
        with pytest.raises(CommandError, match="cannot be read"):
            run(tasks_dead.Command())

    @pytest.mark.parametrize(
        "arguments", [["--retry"], ["--delete"], ["--all"], ["--retry", "id", "--all"]]
    )
    def test_what_is_not_clear_is_refused(self, backend, arguments):
        with pytest.raises(CommandError, match="--all"):
            run(tasks_dead.Command(), *arguments)


class TestBackends:
    @pytest.mark.parametrize(
        ("alias", "reason"),
        [
            ("none", "cannot be used"),
            ("wrong", "no option 'layers'; did you mean 'layer'"),
            ("memory", "in the memory of the process that enqueues them"),
            ("foreign", "cannot be used"),
        ],
    )
    def test_what_has_no_tasks_on_a_broker_is_refused(self, backend, alias, reason):
        for command in (runtasks.Command(), tasks_dead.Command(), tasks_status.Command()):
            with pytest.raises(CommandError, match=reason):
                call_command(command, backend=alias)

    def test_other_backends_are_refused(self, backend, settings):
        settings.TASKS = {"default": {"BACKEND": f"{DJANGO}.backends.dummy.DummyBackend"}}
        with pytest.raises(CommandError, match="is a DummyBackend"):
            run(tasks_status.Command())

    def test_unknown_queues_are_refused(self, backend):
        with pytest.raises(CommandError, match="no queue 'mail'; QUEUES has default, other"):
            run(tasks_status.Command(), "--queue", "mail")

    def test_a_backend_with_any_queues_needs_to_be_told(self, backend):
        with pytest.raises(CommandError, match="say which with --queue"):
            run(tasks_status.Command(), "--backend", "any")
        assert run(tasks_status.Command(), "--backend", "any", "--queue", "mail").startswith(
            "mail:"
        )

    def test_a_broker_that_fails_is_told_without_a_traceback(self):
        async def fail():
            raise BrokerUnavailable("it is not there")

        with pytest.raises(CommandError, match="it is not there"):
            ask(fail)


class Noting(TaskWorker):
    """A worker that only says what it was told to do."""

    error = None
    noted = []

    def run(self):
        self.noted.append((self.queues, self.concurrency, self.drain_timeout))
        if self.error is not None:
            raise self.error


class Noted(runtasks.Command):
    worker_class = Noting


class TestRun:
    @pytest.fixture(autouse=True)
    def noted(self, backend):
        Noting.noted.clear()
        Noting.error = None

    def test_without_options(self):
        assert "runs up to 8 tasks at a time from default, other" in run(Noted())
        assert Noting.noted == [(["default", "other"], 8, 8.0)]

    def test_with_options(self):
        run(
            Noted(),
            "--queue",
            "other",
            "--concurrency",
            "3",
            "--drain",
            "0.5",
            "--health-port",
            "80",
        )
        assert Noting.noted == [(["other"], 3, 0.5)]

    def test_a_health_file_that_cannot_be_written(self, tmp_path):
        with pytest.raises(CommandError, match="health file"):
            run(runtasks.Command(), "--health-file", str(tmp_path / "none" / "file"))

    def test_a_worker_that_has_failed(self):
        Noting.error = WorkerFailed("the broker is gone")
        with pytest.raises(CommandError, match="the broker is gone"):
            run(Noted())

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--concurrency", "0"),
            ("--concurrency", "x"),
            ("--drain", "x"),
            ("--health-port", "0"),
            ("--health-port", "http"),
            ("--drain", "-1"),
            ("--drain", "inf"),
            ("--drain", "nan"),
        ],
    )
    def test_what_is_no_number_is_refused(self, arguments):
        with pytest.raises(CommandError, match="is no number of"):
            run(Noted(), *arguments)

    def test_a_worker_with_the_reloader_ends_cleanly_as_the_process_does(self, monkeypatch):
        registered = []
        monkeypatch.setattr("atexit.register", registered.append)
        monkeypatch.setattr(
            "django.utils.autoreload.run_with_reloader", lambda run, options: run(options)
        )
        thread = threading.Thread(target=run, args=(runtasks.Command(), "--reload"))
        before = signal.getsignal(signal.SIGTERM)
        thread.start()
        while not registered:
            thread.join(0.01)
        (end,) = registered
        end()
        thread.join(10)
        assert not thread.is_alive()
        assert signal.getsignal(signal.SIGTERM) is before
