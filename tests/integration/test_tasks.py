"""Worker processes of tasks, and a real broker: what was enqueued is done, whatever happens."""

import random
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channels.contrib.tasks.compat import task_backends
from channels.contrib.tasks.looking import ask
from tests.brokers import running
from tests.unit.management.project import Project

from . import task_jobs as jobs

pytestmark = pytest.mark.server

DEADLINE = 60.0
OPTIONS = {"lease": 0.6, "backoff": [0, 0.05]}

SETTINGS = """
import sys
sys.path.append({root!r})
INSTALLED_APPS = ["channels", "channels.contrib.tasks"]
DATABASES = {{}}
USE_TZ = True
CHANNEL_LAYERS = {layers!r}
TASKS = {tasks!r}
"""


@pytest.fixture(scope="module")
def broker():
    with running("valkey", "--appendonly", "yes", "--appendfsync", "always") as broker:
        yield broker


@pytest.fixture
def configure(tmp_path, broker, settings):
    """Let a project, and this process, have tasks."""

    def configure(backend="RedisChannelLayer", **options):
        layers = {
            "default": {
                "BACKEND": f"channels.layers.redis.{backend}",
                "CONFIG": {"hosts": [broker.url]},
            }
        }
        path = "channels.contrib.tasks.ChannelsBackend"
        tasks = {"default": {"BACKEND": path, "OPTIONS": OPTIONS | options}}
        project = Project(tmp_path)
        root = str(Path(__file__).parents[2])
        text = SETTINGS.format(root=root, layers=layers, tasks=tasks)
        project.append("mysite/settings.py", text)
        settings.CHANNEL_LAYERS, settings.TASKS = layers, tasks
        return project

    jobs.client.cache_clear()
    broker.cli("FLUSHALL")
    yield configure
    jobs.client().close()


@pytest.fixture
def project(configure):
    return configure()


def work(project, *arguments):
    """A worker process."""
    return project.manage("runtasks", "--concurrency", "4", *arguments)


def wait_for(condition, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return value


def is_finished(result):
    result.refresh()
    return result.is_finished


def counts():
    return ask(task_backends["default"].store.counts, "default")


@pytest.mark.slow
def test_a_worker_runs_tasks_and_drains_at_sigterm(project):
    with work(project) as worker:
        worker.wait_for("runs up to 4 tasks at a time from default")
        result = jobs.write.enqueue("written")
        wait_for(lambda: is_finished(result))
        running = [jobs.work.enqueue(1, 0.5), jobs.awork.enqueue(2, 0.5)]
        wait_for(lambda: jobs.client().hlen("begun") == 2)
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        later = jobs.write.enqueue("later")
        assert worker.wait() == 0, worker.output
    assert [result.return_value for result in running if is_finished(result)] == [1, 2]
    assert not is_finished(later)
    assert jobs.client().lrange("noted", 0, -1) == [b"written"]


@pytest.mark.slow
def test_what_does_not_finish_in_time_goes_to_another_at_once(configure):
    project = configure(lease=600)
    with work(project, "--drain", "0.1") as first:
        result = jobs.hang_at_first.enqueue(1)
        wait_for(lambda: jobs.client().hget("begun", 1))
        first.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        assert first.wait() == 0
        assert time.monotonic() - told < 5, "the interpreter waits for its threads once more"
        with work(project):
            wait_for(lambda: is_finished(result))
    assert result.attempts == 2
    assert str(result.status) == "SUCCESSFUL"


def test_a_task_of_a_killed_worker_is_run_by_another(project):
    with work(project) as first:
        results = [jobs.hang_at_first.enqueue(1), jobs.ahang_at_first.enqueue(2)]
        wait_for(lambda: jobs.client().hlen("begun") == 2)
        with work(project) as second:
            second.wait_for("runs up to")
            first.process.kill()
            killed = time.monotonic()
            wait_for(lambda: jobs.client().hmget("begun", 1, 2) == [b"2", b"2"])
            assert time.monotonic() - killed < 10, "the lease is 0.6 s"
            wait_for(lambda: all(is_finished(result) for result in results))
    for result in results:
        assert str(result.status) == "SUCCESSFUL"
        assert result.attempts == 2
        assert result.errors[0].exception_class.__name__ == "WorkerLost"
    assert counts().lost == 2


@pytest.mark.slow
def test_a_task_that_kills_its_workers_is_a_dead_letter_in_the_end(project):
    result = jobs.kill_the_worker.enqueue()
    other = jobs.work.using(priority=-1).enqueue(1, 0)
    for _ in range(3):
        with work(project) as worker:
            assert worker.wait() == -signal.SIGKILL, worker.output
    with work(project):
        wait_for(lambda: is_finished(result) and is_finished(other))
    assert str(result.status) == "FAILED"
    assert result.attempts == 3
    assert [error.exception_class.__name__ for error in result.errors] == ["WorkerLost"] * 3
    assert jobs.client().llen("noted") == 3
    assert str(other.status) == "SUCCESSFUL", "although it was beside the other one at first"
    assert counts().dead == 1


@pytest.mark.slow
def test_a_task_that_holds_up_its_worker_keeps_its_lease(project):
    with work(project), work(project) as second:
        second.wait_for("runs up to")
        result = jobs.block_the_event_loop.enqueue(2.0)
        wait_for(lambda: is_finished(result))
    assert result.attempts == 1


@pytest.mark.slow
def test_a_deferred_task_outlives_its_workers_and_its_sender(project):
    with work(project) as worker:
        worker.wait_for("runs up to")
        due = datetime.now(UTC) + timedelta(seconds=2)
        result = jobs.write.using(run_after=due).enqueue("due")
        worker.process.kill()
        worker.wait()
    wait_for(lambda: datetime.now(UTC) > due)
    with work(project):
        wait_for(lambda: is_finished(result))
    assert result.started_at > due
    assert result.attempts == 1


@pytest.mark.slow
def test_a_broker_may_be_gone_for_a_while(project, broker):
    with work(project) as worker:
        results = [jobs.work.enqueue(number, 0.1) for number in range(8)]
        wait_for(lambda: jobs.client().hlen("begun") >= 4)
        broker.kill()
        time.sleep(0.5)
        broker.start()
        results += [jobs.work.enqueue(number, 0) for number in range(8, 12)]
        wait_for(lambda: all(is_finished(result) for result in results))
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.output
    assert {str(result.status) for result in results} == {"SUCCESSFUL"}
    assert counts().waiting == counts().running == 0


@pytest.mark.slow
def test_a_worker_ends_when_the_broker_refuses_it(configure, broker):
    project = configure()
    broker.cli("ACL", "SETUSER", "default", "-@all", "+@connection", "+acl")
    try:
        project.append(
            "mysite/settings.py",
            "from channels.contrib.tasks.worker import TaskWorker\nTaskWorker.backoff = (0, 0)",
        )
        with work(project) as worker:
            assert worker.wait() == 1
            assert "CommandError: The worker cannot take tasks" in worker.output
    finally:
        broker.cli("ACL", "SETUSER", "default", "+@all")


@pytest.mark.slow
def test_pubsub_layers_have_tasks_too(configure):
    project = configure("RedisPubSubChannelLayer")
    with work(project):
        result = jobs.work.enqueue(1, 0)
        wait_for(lambda: is_finished(result))
    assert result.return_value == 1


@pytest.mark.slow
def test_a_worker_starts_again_when_the_code_changes(project):
    project.write("mysite/extra.py", "VALUE = 1")
    project.append("mysite/settings.py", "from mysite import extra")
    with work(project, "--reload") as worker:
        worker.wait_for("runs up to")
        # The reloader notices what changes after it has looked for the first time.
        wait_for(lambda: touch(project) and worker.prints("runs up to", times=2, within=1.5))
        result = jobs.work.enqueue(1, 0)
        wait_for(lambda: is_finished(result))
    assert result.return_value == 1


def touch(project):
    project.write("mysite/extra.py", f"VALUE = {time.monotonic()}")
    return True


def storm(project, tasks, workers, seconds):
    """Run tasks on workers that are killed at random, until all are finished."""
    rng = random.Random(20)
    results = [jobs.work.enqueue(number, rng.uniform(0, seconds)) for number in range(tasks)]
    alive = [work(project) for _ in range(workers)]
    killed = 0
    try:
        while counts().succeeded < tasks:
            time.sleep(rng.uniform(0.3, 0.9))
            if counts().succeeded < tasks * 0.9:
                victim = rng.randrange(workers)
                if alive[victim].lines:
                    alive[victim].process.kill()
                    alive[victim].wait()
                    alive[victim].__exit__()
                    alive[victim] = work(project)
                    killed += 1
            assert counts().failed == 0
    finally:
        for worker in alive:
            worker.__exit__()
    return results, killed


def check_storm(results, killed):
    client = jobs.client()
    begun = {int(key): int(value) for key, value in client.hgetall("begun").items()}
    done = {int(key): int(value) for key, value in client.hgetall("done").items()}
    assert set(done) == set(range(len(results))), "none is lost"
    assert killed > 0
    for result in results:
        result.refresh()
        assert str(result.status) == "SUCCESSFUL"
    again = sum(1 for count in begun.values() if count > 1)
    twice = sum(1 for count in done.values() if count > 1)
    assert again <= killed * 4, "only what killed workers had is run again"
    told = f"{len(results)} tasks, {killed} workers killed, {again} begun again, {twice} done twice"
    print(told)  # noqa: T201 - of interest with -rP


@pytest.mark.slow
def test_no_task_of_a_thousand_is_lost_when_workers_are_killed(configure):
    project = configure(max_attempts=20)
    check_storm(*storm(project, tasks=1000, workers=4, seconds=0.2))
