"""Signals reach receivers where these may use the database, and disturb nobody."""

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


def test_a_thread_tells_itself(seen):
    tell(task_started, object(), Result)
    assert seen[0][2] is threading.current_thread()
