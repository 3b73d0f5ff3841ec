"""What background code calls, and what becomes of it."""

import asyncio
import threading
import time
from decimal import Decimal

import pytest

from channels.contrib.progress import JobFailed, Progress, aget_job, get_job
from channels.contrib.progress.values import MAX_SIZE
from channels.exceptions import InvalidChannelLayerError

from .helpers import WithoutGroups


class Retry(Exception):
    """As Celery's."""


def job_of(work, **options):
    """Run some work in a block, and return what is known of the job at the end."""
    progress = Progress(**options)
    with progress:
        work(progress)
    return get_job(progress.job)


# Reports


def test_steps_are_counted():
    def work(progress):
        progress.advance()
        progress.advance(2.5, "Half")
        progress.advance(Decimal("0.5"))

    found = job_of(work, title="Import")
    assert (found.current, found.total, found.text, found.title) == (4, None, "Half", "Import")
    assert (found.state, found.percent, found.result) == ("finished", 100, None)


def ended(percent=None, **reported):
    """The percentage of a job that was given up after a report."""
    progress = Progress()
    if percent is not None:
        reported["percent"] = percent
    progress.report(**reported)
    progress.cancel()
    progress._delivery.wait()
    return get_job(progress.job).percent


@pytest.mark.parametrize(
    ("reported", "percent"),
    [
        ({}, None),
        ({"current": 1}, None),
        ({"current": 1, "total": 3}, 33.3),
        ({"current": 1, "total": 0}, None),
        ({"current": 9, "total": 3}, 100),
        ({"current": -9, "total": 3}, 0),
        ({"current": 1, "total": 3, "percent": 40}, 40),
        ({"percent": Decimal("12.5")}, 12.5),
        ({"percent": 10**300}, 100),
        ({"percent": -1}, 0),
    ],
)
def test_percentages(reported, percent):
    assert ended(**reported) == percent


@pytest.mark.parametrize("number", [float("nan"), float("inf"), Decimal("NaN")])
def test_what_is_no_number_is_refused(number):
    progress = Progress()
    for name in ("percent", "current", "total"):
        with pytest.raises(ValueError, match=f"{name} must be a number"):
            progress.report(**{name: number})
    with pytest.raises(ValueError, match="total must be a number"):
        Progress(total=number)


def test_things_are_tracked():
    seen = []

    def work(progress):
        seen.extend(progress.track(["a", "b"]))
        seen.extend(progress.track(iter("cd")))

    found = job_of(work)
    assert seen == ["a", "b", "c", "d"]
    assert (found.current, found.total) == (2, 2)


def test_a_total_that_was_given_stays():
    assert job_of(lambda progress: list(progress.track([1])), total=5).total == 5


def test_previews_and_results_that_cannot_be_carried_are_left_out(caplog):
    def work(progress):
        progress.report(preview={"n": [1]})
        progress.report(preview=object())
        progress.finish({"x": "x" * MAX_SIZE})

    found = job_of(work)
    assert (found.preview, found.result) == ({"n": [1]}, None)
    assert f"Left out the preview of job {found.id}: it is no JSON" in caplog.text
    assert f"Left out the result of job {found.id}: it has " in caplog.text


def test_many_threads_report_one_job():
    def work(progress):
        def advance():
            for _ in range(1000):
                progress.advance()

        threads = [threading.Thread(target=advance) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert job_of(work).current == 4000


# Ends


def test_what_is_reported_after_the_end_does_not_count():
    def work(progress):
        progress.finish({"url": "/1"}, "Done")
        progress.report(text="late")
        progress.advance(1, "late")
        progress.fail("late")

    found = job_of(work)
    assert (found.state, found.result, found.text) == ("finished", {"url": "/1"}, "Done")


def test_what_a_block_raises_is_told_to_the_log_and_not_to_the_page(caplog):
    progress = Progress("job-x")
    with pytest.raises(RuntimeError, match="password"), progress:
        raise RuntimeError("password=hunter2")
    found = get_job("job-x")
    assert (found.state, found.text) == ("failed", "The job has failed.")
    assert "Job job-x has failed" in caplog.text
    assert "hunter2" in caplog.text
    assert repr(progress) == "<Progress of job job-x: failed>"


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (JobFailed("Row 3 has no price"), "failed", "Row 3 has no price"),
        (JobFailed(), "failed", "The job has failed."),
        (Retry(), "queued", "Loading"),
        (KeyboardInterrupt(), "cancelled", "Loading"),
        (SystemExit(), "cancelled", "Loading"),
        (asyncio.CancelledError(), "cancelled", "Loading"),
    ],
)
def test_how_a_block_ends(error, state, text, caplog):
    progress = Progress(retry_on=(Retry,))
    with pytest.raises(type(error)), progress:
        progress.report(text="Loading")
        raise error
    found = get_job(progress.job)
    assert (found.state, found.text) == (state, text)
    assert "has failed" not in caplog.text


def test_an_error_after_the_end_is_not_logged_here(caplog):
    with pytest.raises(RuntimeError), Progress() as progress:
        progress.cancel("Not wanted any more")
        raise RuntimeError
    assert get_job(progress.job).state == "cancelled"
    assert not caplog.text


async def test_coroutines_report_too():
    async with Progress(user=7) as progress:
        progress.advance()
    assert (await aget_job(progress.job)).state == "finished"
    task_progress = Progress()

    async def work():
        async with task_progress:
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (await aget_job(task_progress.job)).state == "cancelled"


def test_a_job_that_is_to_be_tried_again_is_kept_for_longer():
    with pytest.raises(Retry), Progress(user=7, keep=0.1, retry_on=(Retry,)) as progress:
        raise Retry
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert get_job(progress.job).state == "queued"


# Names and layers


def test_names_are_random_or_given():
    assert len({Progress().job for _ in range(100)}) == 100
    assert Progress("import-17").job == "import-17"
    with pytest.raises(TypeError, match="The name of a job"):
        Progress("import 17")
    with pytest.raises(TypeError, match="Group name"):
        Progress(group="a group")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["interval", "lost_after", "keep"])
def test_what_is_no_time_is_refused(name, seconds):
    with pytest.raises(ValueError, match=f"{name} must be seconds, more than 0"):
        Progress(**{name: seconds})


def test_a_layer_without_groups_is_refused(use_layer):
    use_layer(WithoutGroups())
    with pytest.raises(InvalidChannelLayerError):
        Progress()
