import asyncio

import pytest

from channels import signals
from channels._runtime import clock
from channels.exceptions import BrokerError, ListenerFailed
from channels.layers import InMemoryChannelLayer
from channels.worker import Worker, listening

from ...asgi import until
from .working import DEADLINE, Scripted, hearing, working


class Hasty(Worker):
    backoff = (0.001, 0.002)
    max_failures = 3


async def application(scope, receive, send):
    while True:
        await receive()


async def test_a_failure_and_its_end_are_told_by_signals():
    error = BrokerError("refused")
    layer = Scripted(error, error, {"type": "x"})
    worker = Hasty(application, ["a"], layer)
    with (
        hearing(signals.listener_failed) as failed,
        hearing(signals.listener_recovered) as recovered,
    ):
        async with working(worker):
            await until(lambda: failed)
            assert worker.failing == ["a"]
            await until(lambda: recovered)
            assert worker.failing == []
    for number, told in enumerate(failed, 1):
        assert 0 <= told.pop("seconds") <= 0.002
        assert told == {"worker": worker, "channel": "a", "exception": error, "failures": number}
    assert recovered == [{"worker": worker, "channel": "a", "failures": 2}]


async def test_a_listener_that_gives_up_tells_so():
    with hearing(signals.listener_failed) as failed, pytest.raises(ListenerFailed):
        await asyncio.wait_for(
            Worker(application, ["a"], Scripted(NotImplementedError())).handle(), DEADLINE
        )
    assert [told["seconds"] for told in failed] == [None]


async def test_a_listener_that_has_nothing_to_receive_is_well_again_after_a_while(monkeypatch):
    monkeypatch.setattr(listening, "_WELL_AGAIN", 0.01)
    layer = InMemoryChannelLayer()
    first = [OSError("gone")]

    class Weak(Hasty):
        async def listener(self, channel):
            if first:
                raise first.pop()
            await super().listener(channel)

    worker = Weak(application, ["a"], layer)
    with hearing(signals.listener_recovered) as recovered, hearing(signals.job_finished) as jobs:
        async with working(worker):
            await until(lambda: recovered)
            assert worker.failing == []
            await layer.send("a", {"type": "x"})
            await until(lambda: jobs)
    assert len(recovered) == 1


async def test_failures_with_hours_between_them_are_not_in_a_row(monkeypatch):
    hours = 0.0
    real = clock.now
    monkeypatch.setattr(listening.clock, "now", lambda: real() + hours)

    class Rare(Scripted):
        async def receive(self, channel):
            nonlocal hours
            hours += 3600
            return await super().receive(channel)

    layer = Rare(*[OSError("gone")] * 5, {"type": "x"})
    with hearing(signals.listener_failed) as failed:
        async with working(Hasty(application, ["a"], layer)):
            await until(lambda: not layer.script)
    assert [told["failures"] for told in failed] == [1] * 5
