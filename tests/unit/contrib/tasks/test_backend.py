"""What enqueueing refuses, and what is done in memory."""

import asyncio

import pytest
from django.conf import settings as django_settings

from channels.contrib.tasks import UnknownTask
from channels.contrib.tasks.compat import task
from tests.conformance.tasks import jobs


@task
def shadowed():
    return 1


first = shadowed


@task
def shadowed():
    return 2


def test_sync_code_enqueues_in_memory(use):
    backend = use()
    result = jobs.add.enqueue(1)
    assert backend.store.find(result.id).status == "READY"
    assert jobs.add.get_result(result.id) == result


def test_a_task_that_workers_would_not_find_is_refused(use):
    use()
    with pytest.raises(UnknownTask, match="shadowed is another task"):
        first.enqueue()


def test_options_that_are_wrong_are_told_by_the_check(use, settings):
    backend = use(layer="none")
    (error,) = backend.check()
    assert (error.id, "'none'" in error.msg) == ("channels.tasks.E001", True)
    assert django_settings.TASKS


async def test_a_worker_starts_with_the_first_task(use):
    use(autostart=True)
    result = await jobs.aadd.aenqueue(1, 2)
    async with asyncio.timeout(5):
        while not result.is_finished:
            await result.arefresh()
            await asyncio.sleep(0.002)
    assert result.return_value == 3
