"""Threads start when they are needed, end when they are too many, and end with the interpreter."""

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from channels._runtime.workers import Workers
from tests.unit.layers.helpers import until

DEADLINE = 10.0


@pytest.fixture
def make():
    made = []

    def make(keep, finished=lambda: None, **options):
        made.append(Workers(lambda: keep, finished, **options))
        return made[-1]

    yield make
    for workers in made:
        workers.end()


def test_results_and_errors(make):
    workers = make(1)
    assert workers.submit(divmod, 7, 2).result(DEADLINE) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        workers.submit(divmod, 1, 0).result(DEADLINE)
    with pytest.raises(SystemExit):  # which ends no thread
        workers.submit(sys.exit).result(DEADLINE)
    assert len(workers.threads) == 1


def test_an_exit_may_wait_for_nothing(make):
    workers, release = make(0, name="own", exit_grace=0.0), threading.Event()
    names = []

    def work():
        names.append(threading.current_thread().name)
        release.wait(DEADLINE)

    future = workers.submit(work)
    assert workers.under_way == 1
    workers.end()
    assert not future.done()
    release.set()
    future.result(DEADLINE)
    assert names == ["own"]
    assert workers.under_way == 0


def test_one_after_another_they_need_one_thread(make):
    workers = make(9)
    used = {workers.submit(threading.get_ident).result(DEADLINE) for _ in range(500)}
    assert len(used) == len(workers.threads) == 1


async def test_as_many_as_there_is_work_and_later_as_many_as_may_stay(make):
    workers = make(2)
    together = threading.Barrier(5)
    futures = [workers.submit(together.wait, DEADLINE) for _ in range(5)]
    for future in futures:
        future.result(DEADLINE)
    await until(lambda: len(workers.threads) <= 2)
    assert workers.submit(abs, -1).result(DEADLINE) == 1


def test_what_was_cancelled_before_it_began_is_not_called(make, monkeypatch):
    """And its thread does the next work."""
    workers, called, held = make(2), [], []
    start = threading.Thread.start

    def hold(thread):
        held.append(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", hold)
        cancelled = workers.submit(called.append, 1)
        assert cancelled.cancel()
        [thread] = held
        start(thread)
        workers.submit(called.append, 2).result(DEADLINE)
        for late in held[1:]:
            start(late)
    assert called == [2]


def test_a_thread_that_cannot_be_started_is_not_counted(make, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    workers = make(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start"):
            workers.submit(abs, -1)
    assert workers.submit(abs, -1).result(DEADLINE) == 1


def test_finished_is_called_before_the_result_is_there(make):
    log = []
    workers = make(1, lambda: log.append("finished"))
    future = workers.submit(abs, -1)
    future.add_done_callback(lambda _: log.append("result"))
    future.result(DEADLINE)
    workers.end()
    assert log in (["finished", "result"], ["result"]) or log[0] == "finished"


@pytest.mark.parametrize("hangs", [False, True])
def test_the_interpreter_ends(hangs):
    """It waits for what a thread does, but not for ever."""
    code = f"""
        import threading, time
        from channels._runtime import workers
        workers._EXIT_GRACE = 1.0
        workers.Workers.end.__defaults__ = (1.0,)
        mine = workers.Workers(lambda: 2, lambda: None)
        mine.submit(abs, -1).result()
        begun = threading.Event()
        def work():
            begun.set()
            if {hangs}:
                threading.Event().wait()
            time.sleep(0.2)
            print("done", flush=True)
        mine.submit(work)
        begun.wait()
    """
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        timeout=30, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert time.monotonic() - started < 25
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == ("" if hangs else "done\n")
