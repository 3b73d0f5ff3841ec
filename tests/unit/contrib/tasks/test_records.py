"""Which attempts of a task count."""

import time

from channels.contrib.tasks.records import Record, Taken, now


def record(**values):
    return Record("id", "default", 0, b"", now(), **values)


def test_spared_attempts_do_not_count():
    assert record(worker_ids=["a", "b", "c"], spared=2).attempts == 1
    assert record().attempts == 0


def test_records_share_no_lists():
    first, second = record(), record()
    first.worker_ids.append("w")
    assert second.worker_ids == []


def test_a_task_that_was_lost_twice_is_a_suspect():
    assert not Taken(record(lost=["a"])).is_suspect
    assert Taken(record(lost=["a", "b"])).is_suspect


def test_the_time_is_in_microseconds():
    assert abs(now() / 1e6 - time.time()) < 5
