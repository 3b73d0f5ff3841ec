"""Timers, under clocks that stand still and clocks that jump."""

import asyncio
import contextlib
import threading
import time

import pytest
import uvloop
from freezegun import freeze_time

from channels._runtime import clock, timers
from channels._runtime.timers import Timer, sleep, timeout

DEADLINE = 20
SHORT = 0.05
LONG = 60

# Whether time is frozen, and how.
FREEZERS = {
    "not frozen": contextlib.nullcontext,
    "frozen today": freeze_time,
    "frozen in 1999": lambda: freeze_time("1999-12-31"),
    "frozen in 2100": lambda: freeze_time("2100-01-01"),
    "ticking in 2100": lambda: freeze_time("2100-01-01", tick=True),
}


def run(coroutine, loop_factory=None):
    """Run it on a loop of its own; a deadline of a thread ends it, which no tool freezes."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()

        async def main():
            task = asyncio.current_task()
            guard = threading.Timer(DEADLINE, loop.call_soon_threadsafe, (task.cancel,))
            guard.start()
            try:
                return await coroutine
            finally:
                guard.cancel()

        return runner.run(main())


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]


@pytest.fixture(params=FREEZERS)
def freeze(request):
    return FREEZERS[request.param]


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def test_sleep_ends_after_its_time(freeze, loop_factory):
    async def sleeper():
        before = clock.now()
        with freeze():
            await sleep(SHORT)
        return clock.now() - before

    assert SHORT - 0.01 <= run(sleeper(), loop_factory) < DEADLINE


def test_sleep_goes_on_when_time_is_frozen_meanwhile(freeze, loop_factory):
    async def sleeper():
        task = asyncio.ensure_future(sleep(LONG))
        await asyncio.sleep(0)
        with freeze():
            await turns()
            ended = task.done()
        await turns()
        ended = ended or task.done()
        task.cancel()
        return ended

    assert not run(sleeper(), loop_factory)


def test_sleep_that_began_under_frozen_time_ends_after_it(freeze, loop_factory):
    async def sleeper():
        with freeze():
            task = asyncio.ensure_future(sleep(SHORT))
            await turns()
        await task
        return "awake"

    assert run(sleeper(), loop_factory) == "awake"


def test_sleep_is_cancelled_like_any_other():
    async def sleeper():
        task = asyncio.ensure_future(sleep(LONG))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(sleeper())


def test_timeout_ends_what_takes_too_long(freeze, loop_factory):
    async def wait():
        with freeze():
            async with timeout(SHORT):
                await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        run(wait(), loop_factory)


def test_timeout_cancels_nothing_in_time_when_the_clock_jumps(freeze, loop_factory):
    async def wait():
        async with timeout(LONG):
            with freeze():
                await turns()
        return "in time"

    assert run(wait(), loop_factory) == "in time"


@pytest.mark.parametrize("last_look", [0.0, 5.0])
async def test_timeout_looks_once_more_for_what_came_while_the_loop_was_held_up(last_look):
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    held_up = loop.call_later(SHORT / 2, time.sleep, SHORT * 2)
    # What has come needs some turns of the event loop, as the answer of a broker does.
    loop.call_later(SHORT, lambda: loop.call_soon(loop.call_soon, answer.set_result, "here"))
    try:
        async with timeout(SHORT, last_look=last_look):
            assert await asyncio.shield(asyncio.shield(answer)) == "here"
            assert last_look
    except TimeoutError:
        assert not last_look
    held_up.cancel()


async def test_timeout_ends_after_its_last_look():
    with pytest.raises(TimeoutError):
        async with timeout(SHORT, last_look=SHORT):
            await asyncio.get_running_loop().create_future()


def test_timeout_knows_whether_it_is_its_own():
    async def main():
        own, other = timeout(SHORT), timeout(LONG)
        with contextlib.suppress(TimeoutError):
            async with other:
                raise TimeoutError
        with contextlib.suppress(TimeoutError):
            async with own:
                await asyncio.sleep(LONG)
        return own.expired(), other.expired()

    assert asyncio.run(main()) == (True, False)


def test_timeout_passes_on_what_is_raised_within():
    async def fail():
        async with timeout(LONG):
            raise KeyError("within")

    with pytest.raises(KeyError, match="within"):
        run(fail())


def test_timeout_is_no_disguise_for_a_cancellation():
    async def wait():
        async with timeout(LONG):
            asyncio.current_task().cancel()
            await asyncio.sleep(LONG)

    with pytest.raises(asyncio.CancelledError):
        run(wait())


def test_timer_gives_arguments():
    called = []

    async def main():
        Timer(0, called.append, "argument")
        await sleep(SHORT)

    run(main())
    assert called == ["argument"]


def test_timer_that_was_cancelled_calls_nothing(freeze):
    called = []

    async def main():
        with freeze():
            timer = Timer(0, lambda: called.append("cancelled"))
            assert not timer.cancelled()
            timer.cancel()
            timer.cancel()
            assert timer.cancelled()
            await sleep(SHORT)

    run(main())
    assert not called


def test_timer_calls_once_and_forgets_the_function():
    called = []

    async def main():
        timer = Timer(0, lambda: called.append("once"))
        await sleep(SHORT)
        timer.cancel()
        return timer

    timer = run(main())
    assert called == ["once"]
    assert timer.cancelled()


def test_timer_of_a_loop_that_was_closed_meanwhile_does_nothing(caplog):
    called, over, there = [], threading.Event(), timers.bridge.loop

    async def main():
        with freeze_time():
            Timer(SHORT, called.append, "its loop has been closed")
        # What keeps the timer comes to this after it.
        there.call_soon_threadsafe(there.call_later, 2 * SHORT, over.set)

    run(main())
    assert over.wait(DEADLINE)
    assert (called, caplog.text) == ([], "")


def test_timer_without_a_bridge_is_silent(monkeypatch, caplog):
    def closed():
        raise timers.BridgeClosed("The interpreter is exiting")

    class Closed:
        loop = property(lambda self: closed())

    monkeypatch.setattr(timers, "bridge", Closed())

    rung = []

    async def main():
        with freeze_time():
            Timer(0, lambda: rung.append(1)).cancel()
        await turns()

    run(main())
    assert (rung, caplog.text) == ([], "")


async def test_a_sleep_that_is_cancelled_in_the_turn_in_which_it_is_over_is_cancelled():
    loop = asyncio.get_running_loop()
    sleeping = asyncio.create_task(sleep(0.02))
    loop.call_later(0.01, sleeping.cancel)
    await asyncio.sleep(0)
    time.sleep(0.04)  # the event loop finds both timers due in one turn
    with pytest.raises(asyncio.CancelledError):
        await sleeping


async def test_a_sleep_that_is_over_in_the_turn_in_which_it_is_cancelled_is_cancelled(monkeypatch):
    made = []

    class Recorded(Timer):
        def __init__(self, seconds, callback):
            super().__init__(seconds, callback)
            made.append(callback)

    monkeypatch.setattr(timers, "Timer", Recorded)
    task = asyncio.create_task(sleep(LONG))
    await asyncio.sleep(0)
    task.cancel()
    made[0]()
    with pytest.raises(asyncio.CancelledError):
        await task
