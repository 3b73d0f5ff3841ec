"""Jobs before anybody works on them, and after."""

import pytest

from channels.contrib.progress import (
    Progress,
    aannounce,
    aget_job,
    aget_jobs,
    announce,
    get_job,
    get_jobs,
)
from channels.exceptions import EventLoopRunning

from .helpers import unique


def test_jobs_are_announced_and_found():
    one = announce(user=7, title="Import", total=3)
    two = announce(unique(), user=7)
    assert get_job(one).as_dict() == {
        **get_job(one).as_dict(), "state": "queued", "owner": "7", "title": "Import", "total": 3,
    }  # fmt: skip
    assert {job.id for job in get_jobs(7)} == {one, two}
    assert get_jobs(None) == []
    assert get_job("other") is None
    with pytest.raises(TypeError, match="The name of a job"):
        get_job("a job")


async def test_a_job_that_is_announced_again_waits_again():
    async with Progress("job-y", user=7):
        pass
    assert await aannounce("job-y") == "job-y"
    found = await aget_job("job-y")
    assert (found.state, found.attempt) == ("queued", 1)
    async with Progress("job-y", user=8) as progress:
        assert progress.failures == 0
    assert (await aget_job("job-y")).attempt == 2
    assert [job.id for job in await aget_jobs(8)] == ["job-y"]


@pytest.mark.parametrize("call", [announce, lambda: get_job("a"), lambda: get_jobs(7)])
async def test_what_blocks_is_refused_where_an_event_loop_runs(call):
    with pytest.raises(EventLoopRunning, match="Write instead: await a"):
        call()
