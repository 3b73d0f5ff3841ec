"""What is known about a job: names, owners, what is stored, and what a page is told."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.contrib.progress.job import (
    Job,
    JobState,
    is_job_id,
    require_job_id,
    revision_of,
    user_group,
    user_key,
)
from channels.exceptions import SerializationError
from channels.layers import BaseChannelLayer


class User:
    is_authenticated = True

    def __init__(self, pk):
        self.pk = pk


class Anonymous:
    is_authenticated = False
    pk = None


@pytest.mark.parametrize("job_id", ["a", "import-17", "A_b.c", "x" * 64])
def test_names_of_jobs(job_id):
    assert is_job_id(job_id)
    require_job_id(job_id)


@pytest.mark.parametrize("job_id", ["", "x" * 65, "a b", "a/b", "a\n", "ä", None, 7, ["a"]])
def test_what_is_no_name_of_a_job(job_id):
    assert not is_job_id(job_id)
    with pytest.raises(TypeError, match="The name of a job must have 1 to 64"):
        require_job_id(job_id)


def test_users_are_known_by_their_primary_keys():
    assert user_key(User(7)) == user_key(7) == "7"
    key = uuid.uuid4()
    assert user_key(User(key)) == user_key(key) == str(key)
    for nobody in (None, Anonymous()):
        assert user_key(nobody) is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_two_users_have_the_same_key_and_all_are_names(one, two):
    assert (user_key(User(one)) == user_key(User(two))) is (one == two)
    assert user_key(User(one)) != user_key(User(user_key(one))) or user_key(one) == one
    assert BaseChannelLayer().require_valid_group_name(user_group(user_key(User(one))))


def test_a_job_is_what_was_stored():
    job = Job(id="a", state=JobState.RUNNING, total=3, preview={"n": [1]}, revision=2**33 + 5)
    assert Job.from_dict(job.as_dict()) == job
    assert Job.from_dict({**job.as_dict(), "of_a_newer_version": 1}) == job
    assert job.attempt == 2
    assert revision_of(2, 5) == job.revision


@pytest.mark.parametrize("content", [None, {}, [], {"id": "a"}, {"id": "a", "state": "asleep"}])
def test_what_is_no_job(content):
    with pytest.raises(SerializationError, match="This is no job"):
        Job.from_dict(content)


def test_a_page_is_told_neither_owner_nor_group():
    job = Job(
        id="a",
        state=JobState.FAILED,
        owner="7",
        group="team",
        reporter="x",
        text="No",
        revision=2**32,
    )
    assert job.for_page() == {
        "type": "progress", "job": "a", "state": "failed", "title": "", "current": None,
        "total": None, "percent": None, "text": "No", "preview": None, "result": None,
        "revision": 2**32, "attempt": 1,
    }  # fmt: skip


@pytest.mark.parametrize("state", list(JobState))
def test_which_jobs_have_ended(state):
    ended = state in ("finished", "failed", "cancelled")
    assert Job(id="a", state=state).ended is ended
