"""Records become Django's results, and paths become tasks."""

import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from channels.contrib.tasks.codec import Codec
from channels.contrib.tasks.exceptions import UnknownTask
from channels.contrib.tasks.records import Record
from channels.contrib.tasks.results import find_task, microseconds, moment, restore
from tests.conformance.tasks import jobs

PATH = "tests.conformance.tasks.jobs."


def test_times_go_there_and_back(settings):
    east = timezone(timedelta(hours=5, minutes=30))
    time = datetime(2031, 5, 6, 7, 8, 9, 123457, tzinfo=east)
    assert moment(microseconds(time)) == time
    assert moment(microseconds(time)).tzinfo is UTC
    early = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert moment(microseconds(early)) == early
    assert microseconds(None) == 0
    assert moment(0) is None
    settings.USE_TZ = False
    naive = datetime(2031, 5, 6, 7, 8, 9, 123457)
    assert moment(microseconds(naive)) == naive


def test_a_task_is_found_by_its_path():
    assert find_task(PATH + "add") is jobs.add


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (PATH + "plain", "is no task but a function"),
        (PATH + "ran", "is no task but a list"),
        (PATH + "missing", "cannot be imported here: ImportError"),
        ("no.such.module", "cannot be imported here: ModuleNotFoundError"),
        ("nothing", "cannot be imported here: ImportError"),
        ("", "cannot be imported here"),
    ],
)
def test_a_path_that_leads_to_no_task_is_refused(path, reason):
    with pytest.raises(UnknownTask, match=reason):
        find_task(path)


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit", "syntax error"])
def test_whatever_a_module_raises_at_import_is_told(tmp_path, monkeypatch, code):
    (tmp_path / "broken_tasks_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("broken_tasks_module", None)
    with pytest.raises(UnknownTask, match=r"broken_tasks_module.job cannot be imported here"):
        find_task("broken_tasks_module.job")


def test_a_record_becomes_a_result(use):
    use()
    codec = Codec()
    record = Record(
        "id", "default", 5, codec.encode_call("id", PATH + "add", [1], {"b": 2}),
        1_000_000, 2_000_000, "SUCCESSFUL", ["w"], 3_000_000, 4_000_000, 5_000_000,
        codec.encode_errors("id", [("builtins.ValueError", "trace")]), codec.encode_value("id", 3),
    )  # fmt: skip
    result = restore(record, "default", codec)
    assert result.return_value == 3
    assert result.task == jobs.add.using(priority=5, run_after=moment(2_000_000))
    assert (result.args, result.kwargs, result.worker_ids) == ([1], {"b": 2}, ["w"])
    assert [moment(1_000_000 * n) for n in (1, 3, 4, 5)] == [
        result.enqueued_at, result.started_at, result.last_attempted_at, result.finished_at,
    ]  # fmt: skip
    assert result.errors[0].exception_class is ValueError


def test_a_record_of_a_task_that_is_not_there_is_refused(use):
    use()
    codec = Codec()
    record = Record("id", "default", 0, codec.encode_call("id", PATH + "gone", [], {}), 1)
    with pytest.raises(UnknownTask, match="gone"):
        restore(record, "default", codec)
