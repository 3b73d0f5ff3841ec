"""What comes of an attempt, with what a store may hand out."""

import pytest

from channels.contrib.tasks.codec import Codec
from channels.contrib.tasks.exceptions import UnknownTask, WorkerLost
from channels.contrib.tasks.execution import Attempt
from channels.contrib.tasks.options import TaskOptions
from channels.contrib.tasks.records import Record, Taken

PATH = "tests.conformance.tasks.jobs."


@pytest.fixture
def attempt(use):
    backend = use()
    codec = Codec()

    def attempt(
        name="add", payload=None, errors=b"", workers=("w",), options=None, lost=(), **taken
    ):
        payload = payload or codec.encode_call("id", PATH + name, [], {})
        record = Record(
            "id", "default", 0, payload, 1, worker_ids=list(workers), errors=errors, lost=list(lost)
        )
        return Attempt(backend, codec, options or TaskOptions(), Taken(record, **taken))

    return attempt


def test_an_unknown_task_is_a_failure_that_may_pass(attempt):
    unknown = attempt("from_a_newer_version")
    assert isinstance(unknown.error, UnknownTask)
    assert unknown.path == PATH + "from_a_newer_version"
    outcome = unknown.fail(unknown.error)
    assert outcome.kind == "retry"
    (path, text), *_ = Codec().decode_errors("id", outcome.errors)
    assert path == "channels.contrib.tasks.exceptions.UnknownTask"
    assert "from_a_newer_version" in text
    last = attempt("from_a_newer_version", workers="www")
    assert last.fail(last.error).kind == "failed"


def test_what_cannot_be_read_is_a_failure(attempt):
    broken = attempt(payload=b"rubbish", errors=b"rubbish")
    assert isinstance(broken.error, UnknownTask)
    assert broken.path == "?"
    assert broken.fail(broken.error).kind == "retry"


def test_an_attempt_that_ended_with_its_worker_is_among_the_errors(attempt):
    again = attempt(workers=("first", "w"), lost=["first"])
    assert again.error is None
    outcome = again.succeed(1)
    (path, text), *_ = Codec().decode_errors("id", outcome.errors)
    assert path == "channels.contrib.tasks.exceptions.WorkerLost"
    assert "The worker first gave no sign of life" in text
    assert again.result.errors[0].exception_class is WorkerLost


def test_a_task_that_kills_its_workers_has_failed_in_the_end(attempt):
    last = attempt(workers=("first", "second"), lost=["first", "second"], exhausted=True)
    assert isinstance(last.error, WorkerLost)
    assert last.fail(last.error).kind == "failed"
    assert str(last.result.status) == "FAILED"


def test_a_worker_lost_of_an_unknown_task(attempt):
    unknown = attempt("gone", workers=("first", "w"), lost=["first"])
    outcome = unknown.fail(unknown.error)
    paths = [path for path, _ in Codec().decode_errors("id", outcome.errors)]
    assert [path.rpartition(".")[2] for path in paths] == ["WorkerLost", "UnknownTask"]


def test_pauses_double_up_to_the_limit(attempt):
    options = TaskOptions(max_attempts=5000, backoff=(1.0, 8.0))
    for attempts, limit in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (3000, 8)):
        pauses = []
        for _ in range(30):
            outcome = attempt(workers="w" * attempts, options=options).fail(ValueError())
            pauses.append((outcome.due - outcome.at) / 1e6)
        assert max(pauses) <= limit
        assert max(pauses) > limit / 4


def test_long_tracebacks_are_cut_and_odd_texts_kept(attempt):
    failed = attempt()
    outcome = failed.fail(ValueError("x" * 100_000 + "\ud800"))
    ((_, text),) = Codec().decode_errors("id", outcome.errors)
    assert 65_000 < len(text) < 66_000
    assert text.endswith("x\\ud800\n")
