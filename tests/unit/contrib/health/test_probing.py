import asyncio
import functools
import logging
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.contrib.health import CheckFailed, probing
from channels.contrib.health.probing import Prober, describe


@pytest.fixture(autouse=True)
def nothing_stays_fresh(monkeypatch):
    monkeypatch.setattr(probing, "FRESH", 0)


async def ask(check, timeout=5.0):
    return await Prober("name", check, timeout).ask()


def fails_sync():
    raise CheckFailed("no disk")


async def fails_async():
    raise CheckFailed("no disk")


async def returns(value):
    return value


class Callable:
    async def __call__(self):
        return False


@pytest.mark.parametrize(
    "check", [lambda: None, lambda: True, lambda: 0, functools.partial(returns, None)]
)
async def test_checks_that_pass(check):
    result = await ask(check)
    assert (result.ok, result.error) == (True, None)


@pytest.mark.parametrize(
    ("check", "error"),
    [
        (fails_sync, "no disk"),
        (fails_async, "no disk"),
        (lambda: False, "returned False"),
        (functools.partial(returns, False), "returned False"),
        (Callable(), "returned False"),
        (lambda: {}["key"], "KeyError: 'key'"),
        (lambda: next(iter(())), "RuntimeError: raised StopIteration"),
        (lambda: returns(None), "returned a coroutine; make the check a coroutine function"),
    ],
)
async def test_checks_that_fail(check, error):
    result = await ask(check)
    assert (result.ok, result.error) == (False, error)


async def test_a_check_that_cancels_itself():
    async def check():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    assert (await ask(check)).error == "was cancelled from within"


async def test_a_plain_function_does_not_block_the_loop():
    here, there = threading.get_ident(), []
    assert (await ask(lambda: there.append(threading.get_ident()))).ok
    assert there != [here]


async def test_time_is_measured():
    result = await ask(lambda: time.sleep(0.05))
    assert 50 <= result.ms < 5000


async def test_an_async_check_that_hangs_is_ended():
    ended = []

    async def check():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    assert (await ask(check, timeout=0.05)).error == "no answer within 0.05 s"
    assert ended == [True]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def next_answer(prober):
    """What it says when the attempt that hung has ended."""
    async with asyncio.timeout(5):
        while "hanging" in str((result := await prober.ask()).error):
            await asyncio.sleep(0.001)
    return result


async def test_one_that_ignores_its_cancellation_is_not_started_again():
    begun, may_end = [], asyncio.Event()

    async def check():
        begun.append(True)
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    prober = Prober("name", check, 0.05)
    assert (await prober.ask()).error == "no answer within 0.05 s"
    assert (await prober.ask()).error == "an attempt has been hanging for 0 s"
    assert len(begun) == 1
    may_end.set()
    assert (await next_answer(prober)).ok
    assert len(begun) == 2


async def test_a_thread_that_hangs_is_the_only_one():
    begun, may_end = [], threading.Event()

    def check():
        begun.append(True)
        assert may_end.wait(10)
        raise CheckFailed("too late for anybody to hear")

    prober = Prober("name", check, 0.05)
    assert (await prober.ask()).error == "no answer within 0.05 s"
    assert (await prober.ask()).error == "an attempt has been hanging for 0 s"
    assert len(begun) == 1
    may_end.set()
    assert (await next_answer(prober)).error == "too late for anybody to hear"


def test_a_loop_that_has_ended_meanwhile_is_no_trouble():
    may_end = threading.Event()
    assert not asyncio.run(ask(lambda: may_end.wait(10), timeout=0.05)).ok
    may_end.set()
    for thread in threading.enumerate():
        if thread.name == "channels-health":
            thread.join(10)
    # An error in the thread would be a warning, which fails the test.


async def test_many_askers_share_an_attempt_and_its_answer_for_a_while(monkeypatch):
    begun = []

    async def check():
        begun.append(True)
        await asyncio.sleep(0.01)

    prober = Prober("name", check, 5)
    results = await asyncio.gather(*(prober.ask() for _ in range(100)))
    assert len(begun) == 1
    assert len(set(map(id, results))) == 1
    monkeypatch.setattr(probing, "FRESH", 60)
    await prober.ask()
    await prober.ask()
    assert len(begun) == 2


async def test_an_asker_that_goes_away_takes_the_answer_from_nobody():
    gate = asyncio.Event()
    prober = Prober("name", gate.wait, 5)
    impatient, patient = (asyncio.create_task(prober.ask()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    gate.set()
    assert (await patient).ok


async def test_the_log_tells_of_changes_alone(caplog):
    caplog.set_level(logging.INFO, "channels.health")
    well = True
    prober = Prober("disk", lambda: well, 5)
    for well in (True, False, False, True, True):  # noqa: B007 - the check reads it
        await prober.ask()
    assert caplog.messages == [
        "Health check disk fails: returned False",
        "Health check disk is well again",
    ]


class TestDescribe:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("cannot reach redis://:p@ss@host:1/0", "cannot reach redis://***@host:1/0"),
            ("no amqps://u:p/w@a and redis://:x@b", "no amqps://***@a and redis://***@b"),
            ("host=a password=secret dbname=b", "host=a password=*** dbname=b"),
            ("{'password': 'a b', 'host': 'c'}", "{'password': ***, 'host': 'c'}"),
            ("https://a/?access_token=abc&x=1", "https://a/?access_token=***&x=1"),
            ("password authentication failed", "password authentication failed"),
            ("two\nlines\tand   gaps", "two lines and gaps"),
            ("bell \a", r"bell \x07"),
        ],
    )
    def test_it_is_one_line_without_credentials(self, text, shown):
        assert describe(CheckFailed(text)) == shown

    def test_it_is_short(self):
        assert len(describe(CheckFailed("x" * 10_000))) == 200

    @pytest.mark.parametrize("part", ["//", "a", "a-", "//@", "secret", "token=", "pwd='", "x "])
    def test_a_long_text_takes_no_longer_than_it_has_to(self, part):
        """A second for what took minutes: the time must not grow with the square of the length."""
        text = part * (1_000_000 // len(part))
        started = time.process_time()
        assert len(describe(CheckFailed(text))) <= 200
        assert time.process_time() - started < 10

    def test_an_error_without_text_has_its_name(self):
        assert describe(TimeoutError()) == "TimeoutError"
        assert describe(CheckFailed()) == "CheckFailed"

    def test_a_databases_password_is_left_out_wherever_it_stands(self, settings, monkeypatch):
        monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "correct horse")
        assert describe(CheckFailed("tried correct horse here")) == "tried *** here"

    @given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=4))
    def test_no_password_of_a_url_is_shown(self, password):
        shown = describe(OSError(f"cannot connect to redis://user:{password}@host:6379/0"))
        assert shown == "OSError: cannot connect to redis://***@host:6379/0"
