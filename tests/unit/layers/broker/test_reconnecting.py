"""Attempts follow each other, with growing pauses after failures, and the log hears of few."""

import asyncio
import logging
import random

import pytest

from channels import signals
from channels.layers.broker import reconnecting
from channels.layers.broker.reconnecting import Reconnector, backoff

GONE = ConnectionError("nobody there")
REFUSED = ValueError("not allowed")


@pytest.fixture
def reconnector(caplog):
    caplog.set_level(logging.INFO, "channels.layers")
    return Reconnector(
        "Broker at b:1",
        "receiving",
        lambda error: isinstance(error, OSError),
        lambda error: ValueError(f"{error}, so allow it"),
    )


@pytest.fixture
def clock(monkeypatch):
    time = [100.0]
    monkeypatch.setattr(reconnecting, "now", lambda: time[0])
    return time


@pytest.fixture
def attempt(reconnector, monkeypatch):
    """Run attempts that come to what is listed: an error, or nothing if the connection worked."""
    monkeypatch.setattr(reconnecting, "backoff", lambda failures: 0.0)

    async def run(*outcomes):
        remaining = list(outcomes)

        async def attempt():
            if not remaining:
                return False
            error = remaining.pop(0)
            if error is not None:
                raise error
            reconnector.works()
            return True

        await reconnector.run(attempt)

    return run


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


async def test_attempts_end_when_one_says_that_no_other_is_wanted(reconnector):
    answers = [True, True, False, True]

    async def attempt():
        return answers.pop(0)

    await reconnector.run(attempt)
    assert answers == [True]


async def test_the_pause_grows_with_failures_in_a_row_and_there_is_none_without(
    reconnector, monkeypatch
):
    asked = []
    monkeypatch.setattr(reconnecting, "backoff", lambda failures: asked.append(failures) or 0.0)
    outcomes = [GONE, GONE, None, None, REFUSED, GONE]

    async def attempt():
        if not outcomes:
            return False
        error = outcomes.pop(0)
        if error is not None:
            raise error
        reconnector.works()
        return True

    await reconnector.run(attempt)
    assert asked == [1, 2, 1, 2]
    assert reconnector.failures == 2


async def test_cancelling_ends_an_attempt_and_a_pause(reconnector, monkeypatch):
    for seconds in (0.0, 600.0):
        monkeypatch.setattr(reconnecting, "backoff", lambda failures, pause=seconds: pause)
        reached = asyncio.Event()

        async def attempt(seconds=seconds, reached=reached):
            reached.set()
            if seconds:
                raise GONE
            await asyncio.Event().wait()
            return True

        task = asyncio.create_task(reconnector.run(attempt))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_two_failures_in_a_row_are_not_logged(attempt, caplog):
    await attempt(GONE, GONE, None, GONE, GONE)
    assert lines(caplog) == []


async def test_the_third_failure_is_logged_and_then_one_a_minute(
    attempt, reconnector, caplog, clock
):
    await attempt(*[GONE] * 100)
    text = "Broker at b:1: receiving does not work (nobody there); still trying, "
    assert lines(caplog) == [("WARNING", text + "attempt 3")]
    clock[0] += 61
    await attempt(GONE, GONE)
    assert lines(caplog)[1:] == [("WARNING", text + "attempt 101")]
    await attempt(None, None)
    assert lines(caplog)[2:] == [("INFO", "Broker at b:1 answers again: receiving works")]
    assert reconnector.failures == 0


async def test_an_error_that_will_not_pass_is_logged_at_once_with_what_to_do(
    attempt, caplog, clock
):
    await attempt(*[REFUSED] * 10)
    text = "Broker at b:1: receiving does not work (not allowed, so allow it); still trying, "
    assert lines(caplog) == [("ERROR", text + "attempt 1")]
    assert not caplog.records[0].exc_info


async def test_failures_that_come_and_go_are_logged_at_most_every_ten_seconds(
    attempt, caplog, clock
):
    for _ in range(100):
        await attempt(REFUSED, None)
        clock[0] += 1
    assert len([level for level, _ in lines(caplog) if level == "ERROR"]) == 10


async def test_an_error_without_a_text_is_logged_by_its_class(attempt, caplog):
    await attempt(*[TimeoutError()] * 3)
    assert "(TimeoutError)" in caplog.text


def test_pauses_grow_to_a_second_and_differ():
    for failures in (1, 2, 5, 20, 50, 10_000):
        pauses = {backoff(failures) for _ in range(50)}
        longest = min(1.0, 0.05 * 2 ** min(failures - 1, 60))
        assert all(0 <= pause <= longest for pause in pauses)
        assert len(pauses) > 10


def test_pauses_take_no_numbers_from_a_sequence_that_a_project_has_seeded():
    before = random.getstate()
    assert len({backoff(10) for _ in range(50)}) > 1
    assert random.getstate() == before


async def test_a_loss_and_its_end_are_signalled_once_each(attempt, clock):
    heard = []

    def lost(sender, broker, purpose, exception, **others):
        heard.append(("lost", broker, purpose, exception))

    def recovered(sender, broker, purpose, seconds, **others):
        heard.append(("recovered", broker, purpose, seconds))

    signals.broker_lost.connect(lost)
    signals.broker_recovered.connect(recovered)
    try:
        await attempt(None, GONE)
        clock[0] += 3
        await attempt(GONE)
        clock[0] += 4
        await attempt(None, None)
    finally:
        signals.broker_lost.disconnect(lost)
        signals.broker_recovered.disconnect(recovered)
    assert heard == [
        ("lost", "Broker at b:1", "receiving", GONE),
        ("recovered", "Broker at b:1", "receiving", 7),
    ]
