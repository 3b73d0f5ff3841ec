"""How reports get out: at a bounded rate, the last one always, also when the broker is away."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels._runtime.loops import bridge
from channels.contrib.progress import Progress, aannounce, aget_job, aget_jobs
from channels.contrib.progress import delivery as delivery_module
from channels.contrib.progress.job import job_group, revision_of, user_group
from channels.layers import InMemoryChannelLayer

from ....asgi import until
from .helpers import Failing, Listener, listen, unique

INTERVAL = 0.05


def steps_in_a_thread(progress, pauses):
    """Report steps from a thread, with pauses in seconds; return how many."""

    def work():
        with progress:
            for n, pause in enumerate(pauses, 1):
                progress.report(current=n)
                if pause:
                    threading.Event().wait(pause)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


# Laws


async def test_what_is_heard_of_any_job_obeys_the_laws():
    loop = asyncio.get_running_loop()

    async def law(pauses):
        job_id, pauses = unique(), [*pauses, 0]
        async with listen(job_id) as listener:
            progress = Progress(job_id, total=1000, interval=INTERVAL)
            begun = loop.time()
            thread = steps_in_a_thread(progress, pauses)
            await asyncio.to_thread(thread.join)
            await until(lambda: "finished" in listener.states)
            seconds = loop.time() - begun
        jobs, revisions = listener.jobs, [job["revision"] for job in listener.jobs]
        assert revisions == sorted(set(revisions)), "revisions increase"
        assert listener.states == ["running"] * (len(jobs) - 1) + ["finished"], "the end comes last"
        currents = [job["current"] or 0 for job in jobs[:-1]]
        assert currents == sorted(currents), "no older step after a newer one"
        assert len(jobs) <= 2 + seconds / INTERVAL, "no more than one in each interval, and the end"
        assert jobs[-1]["current"] == 1000

    @settings(max_examples=8, database=None)
    @given(st.lists(st.sampled_from([0, 0, 0, 0.002, 0.03, 0.07]), max_size=30))
    def attempt(pauses):
        asyncio.run_coroutine_threadsafe(law(pauses), loop).result()

    await asyncio.to_thread(attempt)


async def test_the_last_report_before_a_silence_is_heard():
    job_id = unique()
    async with listen(job_id) as listener:
        begun, progress = time.monotonic(), Progress(job_id, interval=INTERVAL)
        for n in range(500):
            progress.report(text=f"step {n}")
        await until(lambda: listener.jobs and listener.jobs[-1]["text"] == "step 499")
        assert len(listener.jobs) <= 1 + (time.monotonic() - begun) / INTERVAL
        progress.finish()
        await until(lambda: listener.states[-1] == "finished")


async def test_the_end_does_not_wait_for_the_interval():
    job_id = unique()
    async with listen(job_id) as listener, asyncio.timeout(20):
        # Longer than any machine has run: the first report does not wait for it either.
        async with Progress(job_id, interval=1e9) as progress:
            await until(lambda: listener.states == ["running"])
            progress.report(percent=50)
        assert (await aget_job(job_id)).state == "finished"
        await until(lambda: listener.states == ["running", "finished"])


async def test_everybody_whom_it_concerns_is_told():
    job_id = unique()
    groups = job_group(job_id), user_group("7"), "team"
    async with Listener(*groups) as listener:
        async with Progress(job_id, user=7, group="team"):
            pass
        await until(lambda: listener.states.count("finished") == 3)
    assert [job.id for job in await aget_jobs(7)] == [job_id]


# Attempts


async def test_a_newer_attempt_takes_over():
    job_id = unique()
    async with listen(job_id) as listener:
        first = Progress(job_id, user=7, title="Import", total=9, interval=0.01)
        first.report(text="first")
        await until(lambda: listener.jobs)
        async with Progress(job_id, interval=0.01) as second:
            second.report(text="second")
            await until(lambda: listener.jobs[-1]["text"] == "second")
            first.report(text="late")
            await until(lambda: first.superseded)
            first.report(text="later")
            first.finish()
            assert not second.superseded
        await until(lambda: listener.states[-1] == "finished")
    texts = [job["text"] for job in listener.jobs]
    assert texts[0] == "first"
    assert "late" not in texts
    assert "later" not in texts
    found = await aget_job(job_id)
    assert (found.attempt, found.owner, found.title, found.total) == (2, "7", "Import", 9)


async def test_of_two_that_begin_at_the_same_moment_one_is_newer(use_layer):
    class Slow(InMemoryChannelLayer):
        """Both read before either has written."""

        waiting = 0
        immediate = frozenset()

        async def get_states(self, collection):
            found = await super().get_states(collection)
            self.waiting += 1
            while self.waiting < 2:
                await asyncio.sleep(0.001)
            return found

    use_layer(Slow())
    job_id = unique()
    both = [Progress(job_id, interval=0.01) for _ in range(2)]

    def report():
        for progress in both:
            progress.report(percent=1)
        return [progress.superseded for progress in both].count(True) == 1

    await until(report)
    assert (await aget_job(job_id)).attempt == 2
    for progress in both:
        progress.finish()


async def test_an_announced_job_is_the_first_attempt_of_who_begins_it():
    job_id = await aannounce(user=7, title="Import", total=3, group="team")
    queued = await aget_job(job_id)
    assert (queued.state, queued.attempt, queued.owner) == ("queued", 0, "7")
    async with Listener("team") as listener:
        async with Progress(job_id) as progress:
            progress.advance()
        await until(lambda: listener.states[-1:] == ["finished"])
    found = await aget_job(job_id)
    assert (found.attempt, found.owner, found.title, found.total) == (1, "7", "Import", 3)


# Signs of life


async def test_a_job_that_is_forgotten_is_lost(use_layer):
    class Counting(InMemoryChannelLayer):
        signs = 0
        immediate = frozenset()

        async def set_state(self, collection, field, value, expiry, *, revision=None):
            self.signs += field == "alive"
            return await super().set_state(collection, field, value, expiry, revision=revision)

    job_id, layer = unique(), use_layer(Counting())
    progress = Progress(job_id, lost_after=0.3)
    progress.report(percent=1)
    await until_state(job_id, "running")
    await until(lambda: layer.signs > 5)
    del progress
    gc.collect()
    await until_state(job_id, "lost")


async def until_state(job_id, state):
    async with asyncio.timeout(10):
        while (found := await aget_job(job_id)) is None or found.state != state:
            await asyncio.sleep(0.01)


async def test_the_state_of_a_silent_job_is_renewed():
    job_id = unique()
    async with listen(job_id) as listener:
        progress = Progress(job_id, lost_after=0.15, keep=0.4)
        progress.report(percent=1)
        await until(lambda: len(listener.jobs) > 2)
        assert listener.jobs[-1]["percent"] == 1
        progress.finish()


# Brokers that are away


async def test_a_broker_that_is_down_disturbs_no_work(use_layer, caplog):
    layer = use_layer(Failing())
    job_id = unique()
    async with listen(job_id) as listener:
        progress = Progress(job_id, interval=0.01)
        for n in range(1000):
            progress.report(text=f"step {n}")
        await until(lambda: progress.failures > 2)
        assert (
            f"Progress of job {job_id} is not delivered (ConnectionError: The broker" in caplog.text
        )
        layer.down = False
        await until(lambda: listener.jobs)
        assert listener.jobs[0]["text"] == "step 999"
        progress.finish()
        await until(lambda: listener.states[-1] == "finished")


async def test_the_end_is_delivered_when_the_broker_is_back(use_layer, caplog, monkeypatch):
    monkeypatch.setattr(delivery_module, "END_PATIENCE", 0.05)
    layer = use_layer(Failing())
    job_id = unique()
    async with listen(job_id) as listener:
        async with Progress(job_id):
            pass
        assert f"The end of job {job_id} has not been delivered within 0.05 s" in caplog.text
        layer.down = False
        await until(lambda: listener.states == ["finished"])


async def test_the_end_is_not_tried_for_ever(use_layer, monkeypatch):
    monkeypatch.setattr(delivery_module, "END_PATIENCE", 0.01)
    layer = use_layer(Failing())
    async with Progress(keep=0.2) as progress:
        pass
    await until(lambda: progress._delivery not in delivery_module._unfinished)
    assert layer.calls == progress.failures > 1


async def test_a_failure_after_the_state_was_kept_is_repeated(use_layer):
    class Deaf(InMemoryChannelLayer):
        refusals = 2
        immediate = frozenset()

        async def group_send(self, group, message):
            if self.refusals:
                self.refusals -= 1
                raise ConnectionError("as if")
            await super().group_send(group, message)

    use_layer(Deaf())
    job_id = unique()
    async with listen(job_id) as listener:
        async with Progress(job_id):
            pass
        await until(lambda: listener.states == ["finished"])


# Processes


async def test_the_copy_in_a_forked_process_tells_nobody():
    job_id = unique()
    progress = Progress(job_id)
    progress.report(text="parent")
    await until_state(job_id, "running")

    def child():
        progress.report(text="child")
        progress.fail("child")
        progress.__exit__(None, None, None)
        progress.__del__()

    pid = await asyncio.to_thread(fork, child)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert status == 0
    async with progress:
        pass
    assert (await aget_job(job_id)).text == "parent"


async def test_where_the_copy_ends_nobody_waits(monkeypatch):
    progress = Progress()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    async with progress:
        progress.advance()
    assert await aget_job(progress.job) is None


def fork(function):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


PROGRAM = """
    import atexit, sys
    from django.conf import settings
    settings.configure(
        CHANNEL_LAYERS={{"default": {{"BACKEND": "channels.layers.InMemoryChannelLayer"}}}},
        INSTALLED_APPS=["channels"],
    )
    import django
    django.setup()
    atexit.register(lambda: print(states))
    from channels.contrib.progress import Progress
    from channels.layers import get_channel_layer
    layer, states = get_channel_layer(), []
    async def group_send(group, message):
        states.append(message["job"]["state"])
    layer.group_send = group_send
    progress = Progress("job")
    progress.report(percent=1)
    {end}
"""


@pytest.mark.parametrize(("end", "last"), [("progress.finish()", "finished"), ("", None)])
def test_an_end_just_before_the_exit_is_delivered(end, last):
    program = textwrap.dedent(PROGRAM).format(end=end)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert ("'finished']" in done.stdout) is bool(last)


async def test_where_an_event_loop_runs_a_plain_block_waits_for_nothing(monkeypatch):
    async def wait(self):
        raise AssertionError("It has waited.")

    monkeypatch.setattr(delivery_module.Delivery, "_until_over", wait)
    with Progress():
        pass
    with pytest.raises(AssertionError, match="It has waited"):
        async with Progress():
            pass


def test_when_the_interpreter_exits_nothing_is_raised(monkeypatch):
    progress = Progress()
    progress.report(percent=1)

    monkeypatch.setattr(delivery_module, "bridge", ClosedBridge())
    progress.report(percent=2)
    with progress:
        pass
    asyncio.run(progress.__aexit__(None, None, None))
    assert not progress.superseded


class ClosedBridge:
    @property
    def loop(self):
        raise delivery_module.BridgeClosed("The interpreter is exiting")

    def call(self, coroutine, timeout=None):
        coroutine.close()
        raise delivery_module.BridgeClosed("The interpreter is exiting")

    async def cross(self, coroutine):
        self.call(coroutine)


def test_a_job_that_has_ended_before_it_was_begun_is_waited_for_by_nobody():
    progress = Progress()
    assert bridge.call(progress._delivery._until_over()) is None
    progress._delivery.abandon()
    assert revision_of(0, 0) == 0
