"""Where jobs are kept: in the layer, or in a cache when the layer keeps no states."""

import pytest
from django.core.cache import caches

from channels._runtime import clock
from channels.contrib.progress import store
from channels.contrib.progress.job import Job, JobState, job_group, revision_of
from channels.contrib.progress.store import CacheStates, Jobs, cache_alias, require_layer
from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer, channel_layers

from .helpers import Stateless, WithoutGroups, unique


@pytest.fixture(params=[InMemoryChannelLayer, Stateless], ids=["layer", "cache"])
def layer(request, use_layer):
    caches["default"].clear()
    return use_layer(request.param())


@pytest.fixture
def jobs(layer):
    return Jobs(layer)


def job(state=JobState.RUNNING, **values):
    return Job(**{"id": "a", "state": state, "owner": "7", "revision": 1, **values})


async def test_the_newest_state_of_a_job_is_kept(jobs):
    assert await jobs.load("a") is None
    await jobs.beat("a", 60, 2)
    assert await jobs.load("a") is None
    assert await jobs.save(job(revision=2), 60)
    assert not await jobs.save(job(revision=1, title="older"), 60)
    assert await jobs.load("a") == job(revision=2)
    assert await jobs.save(job(JobState.FINISHED, revision=3), 60)
    assert await jobs.load("a") == job(JobState.FINISHED, revision=3)


async def test_a_job_without_a_sign_of_life_is_lost(jobs):
    for state in JobState:
        await jobs.save(job(state, id=state.value), 60)
        found = await jobs.load(state.value)
        expected = JobState.LOST if state is JobState.RUNNING else state
        assert found.state is expected


async def test_a_newer_attempt_that_has_not_begun_gives_no_sign_of_life_of_an_older_one(jobs):
    await jobs.save(job(revision=revision_of(1, 5)), 60)
    await jobs.beat("a", 60, revision_of(2, 1))
    assert (await jobs.load("a")).state == "lost"
    await jobs.beat("a", 60, revision_of(1, 9))
    assert (await jobs.load("a")).state == "lost", "nor is what is older taken for it"
    await jobs.save(job(revision=revision_of(2, 1)), 60)
    assert (await jobs.load("a")).state == "running"


async def test_rubbish_is_no_job(jobs, layer):
    await jobs._states.set(job_group("a"), "state", {"n": 1}, 60)
    assert await jobs.load("a") is None


async def test_the_jobs_of_a_user_the_newest_first(jobs):
    for n, name in enumerate(("one", "two", "three", "gone", "given away")):
        name = name.replace(" ", "-")
        await jobs.list(job(id=name), n, 60)
        if name != "gone":
            await jobs.save(job(JobState.QUEUED, id=name), 60)
    await jobs.save(job(JobState.QUEUED, id="given-away", owner="8", revision=2), 60)
    await jobs.list(job(id="nobodys", owner=None), 9, 60)
    assert [found.id for found in await jobs.load_of("7")] == ["three", "two", "one"]
    assert await jobs.load_of("8") == []


async def test_only_the_latest_are_listed(jobs, monkeypatch):
    monkeypatch.setattr(store, "LISTED", 2)
    for n in range(4):
        await jobs.list(job(id=f"n{n}"), n, 60)
        await jobs.save(job(JobState.QUEUED, id=f"n{n}"), 60)
    assert [found.id for found in await jobs.load_of("7")] == ["n3", "n2"]


async def test_what_is_in_the_cache_expires(monkeypatch):
    states, collection = CacheStates("default"), unique()
    await states.set(collection, "short", {"n": 1}, 5, 7)
    await states.set(collection, "long", {"n": 2}, 60)
    now = clock.wall()
    monkeypatch.setattr(store, "wall", lambda: now + 10)
    assert await states.get(collection) == {"long": {"n": 2}}
    assert await states.set(collection, "short", {"n": 3}, 5, 1), "the revision is gone too"


def test_another_cache_can_be_named(settings):
    assert cache_alias() == "default"
    settings.CHANNELS_PROGRESS_CACHE = "shared"
    assert cache_alias() == "shared"


def test_a_layer_with_groups_is_needed(use_layer):
    assert require_layer("default") is channel_layers["default"]
    with pytest.raises(InvalidChannelLayerError, match="has no layer 'other'"):
        require_layer("other")
    use_layer(WithoutGroups())
    with pytest.raises(InvalidChannelLayerError, match="has no groups"):
        require_layer("default")


def test_attempts_grow():
    assert revision_of(1, 2**32 - 1) < revision_of(2, 0) < 2**53
