"""Signals reach receivers where these may use the database, and disturb nobody."""

import sys
import threading

import pytest

from channels.contrib.tasks.compat import task_started
from channels.contrib.tasks.telling import atell, tell


class Result:
    """Stands for a result, for Django's own receiver writes one to the log."""

    id, status = "id", "RUNNING"

    class task:
        module_path = "module.task"


@pytest.fixture
def seen():
    seen = []

    def receive(sender, task_result, **kwargs):
        seen.append((sender, task_result, threading.current_thread()))
        raise ValueError("a receiver fails")

    task_started.connect(receive)
    yield seen
    task_started.disconnect(receive)


async def test_receivers_are_called_in_a_thread(seen):
    await atell(task_started, self := object(), Result)
    ((sender, result, thread),) = seen
    assert (sender, result) == (type(self), Result)
    assert thread is not threading.current_thread()


async def test_django_alone_is_told_at_once(caplog):
    caplog.set_level("INFO")
    await atell(task_started, object(), Result)
    assert "module.task" in caplog.text


async def test_receivers_see_the_exception_that_is_handled():
    seen = []

    def receive(**kwargs):
        seen.append(sys.exc_info()[1])

    async def areceive(**kwargs):
        seen.append("async")

    task_started.connect(receive)
    task_started.connect(areceive)
    error = ValueError()
    try:
        raise error
    except ValueError:
        await atell(task_started, object(), Result)
    finally:
        task_started.disconnect(receive)
        task_started.disconnect(areceive)
    assert seen == [error, "async"]


def test_a_thread_tells_itself(seen):
    tell(task_started, object(), Result)
    assert seen[0][2] is threading.current_thread()
