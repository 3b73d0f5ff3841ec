"""The worker of tasks in memory is part of the process."""

import os
import subprocess
import sys
import threading
import time

import pytest

from channels.contrib.tasks import local
from tests.conformance.tasks import jobs


@pytest.fixture(autouse=True)
def no_workers():
    local.stop_workers()
    yield
    jobs.release.set()
    local.stop_workers()


def finish(result):
    deadline = time.monotonic() + 5
    while not result.is_finished:
        assert time.monotonic() < deadline
        time.sleep(0.002)
        result.refresh()
    return result


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "channels-tasks"]


def test_it_starts_with_the_first_task_and_there_is_one(use):
    use(autostart=True)
    assert finish(jobs.add.enqueue(1, 2)).return_value == 3
    assert finish(jobs.aadd.enqueue(1, 2)).return_value == 3
    assert len(threads()) == 1


def test_it_ends_after_the_tasks_that_it_runs(use):
    use(autostart=True)
    result = jobs.wait.enqueue()
    while "waits" not in jobs.ran:
        time.sleep(0.002)
    threading.Timer(0.1, jobs.release.set).start()
    local.stop_workers()
    assert threads() == []
    result.refresh()
    assert result.return_value == "waited"
    jobs.ran.clear()
    assert finish(jobs.add.enqueue(1)).return_value == 1, "another one starts"


def test_changed_settings_have_a_worker_of_their_own(use):
    use(autostart=True)
    finish(jobs.add.enqueue(1))
    (before,) = threads()
    use(autostart=True)
    finish(jobs.add.enqueue(1))
    before.join(5)
    assert len(threads()) == 1


def test_a_forked_child_starts_its_own(use):
    use(autostart=True)
    finish(jobs.add.enqueue(1))
    child = os.fork()
    if not child:  # pragma: no cover - in the child
        code = 1
        try:
            code = 0 if finish(jobs.add.enqueue(1)).return_value == 1 else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


SCRIPT = """
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["channels", "channels.contrib.tasks"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    TASKS={"default": {"BACKEND": "channels.contrib.tasks.ChannelsBackend"}},
)
django.setup()
from channels.contrib.tasks.compat import task

@task
def slow():
    import time
    print("begun", flush=True)
    time.sleep(0.3)
    print("done", flush=True)

slow.enqueue()
import time
time.sleep(0.1)
"""


def test_a_process_that_ends_lets_tasks_finish(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("begun\ndone\n", "", 0)
