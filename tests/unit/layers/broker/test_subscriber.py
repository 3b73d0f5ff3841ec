"""Staying connected: what callers and consumers learn, and what happens to each connection."""

import asyncio

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import reconnecting
from channels.layers.broker import subscriber as module
from channels.layers.broker.subscriber import Subscriber

from ....asgi import until


class Line(Subscriber[asyncio.Future]):
    """Connects to nothing: a connection is a future, which a test breaks.

    Attributes:
        refuse: what connecting raises.
        registering: awaited with each registration, if set.
        calls: what was called, in order.
    """

    def __init__(self):
        self.lost, self.gaps, self.calls = [], [], []
        super().__init__(
            "the line",
            lambda error: isinstance(error, OSError),
            lambda error: BrokerError(f"The line refused: {error}"),
            self.lost.append,
            self.gaps.append,
            connecting=5,
        )
        self.refuse = self.registering = self.connection = None
        self.closing = asyncio.Event()
        self.closing.set()

    async def connect(self):
        if self.refuse:
            raise self.refuse
        self.connection = asyncio.get_running_loop().create_future()
        return self.connection

    async def use(self, connection):
        await self.register()
        self.works()
        await connection

    async def disconnect(self, connection):
        self.calls.append("disconnect")
        await self.closing.wait()
        self.calls.append("disconnected")
        raise ConnectionError("errors are ignored here")

    async def register(self):
        self.calls.append("register")
        if self.registering:
            await self.registering.wait()

    async def withdraw(self):
        self.calls.append("withdraw")

    def barrier(self):
        if not self.up:
            return self._up
        barrier = self._loop.create_future()
        barrier.set_result(None)
        return barrier

    def cut(self, error=None):
        self.connection.set_exception(error or ConnectionError("cut"))


@pytest.fixture
async def line(monkeypatch):
    monkeypatch.setattr(reconnecting, "_BACKOFF_FIRST", 0.001)
    line = Line()
    yield line
    line.closing.set()
    await line.stop()


@pytest.fixture
async def running(line):
    line.start()
    await line.be_ready()
    return line


async def test_callers_wait_until_the_process_can_be_found(line):
    line.registering = asyncio.Event()
    line.start()
    ready = asyncio.ensure_future(line.be_ready())
    await until(lambda: line.calls)
    assert not line.is_ready()
    assert not ready.done()
    line.registering.set()
    await ready
    assert line.is_ready()
    assert line.up
    assert line.calls == ["register"]


async def test_a_gap_is_told_once_it_is_over_and_once_only(running):
    running.refuse = ConnectionError("still down")
    running.cut()
    await until(lambda: running.lost)
    assert running.lost == ["the connection to the broker broke: cut"]
    assert running.gaps == []
    assert running.is_ready(), "the process may be found again without its callers"
    running.refuse = None
    await running.wait_until_up()
    assert running.gaps == running.lost
    await running.wait_until_up()
    assert len(running.gaps) == 1


async def test_an_error_without_a_text_is_named(running):
    running.cut(TimeoutError())
    await until(lambda: running.gaps)
    assert running.gaps == ["the connection to the broker broke: TimeoutError"]


async def test_a_connection_is_down_before_it_has_been_closed(running):
    running.closing.clear()
    running.cut()
    await until(lambda: running.calls == ["register", "disconnect"])
    assert not running.up
    assert running.lost
    running.closing.set()
    await until(lambda: running.up)
    assert running.calls == ["register", "disconnect", "disconnected", "register"]


async def test_callers_are_told_what_does_not_pass_and_later_ones_wait(line):
    line.refuse = ValueError("no entrance")
    line.start()
    with pytest.raises(BrokerError, match="The line refused: no entrance"):
        await line.be_ready()
    line.refuse = None
    await line.be_ready()
    assert line.lost == line.gaps == [], "nothing was there to be lost"


async def test_an_error_may_be_seen_in_another_light(running, monkeypatch):
    monkeypatch.setattr(running, "examined", lambda error: ConnectionError("moved"))
    running.cut(ValueError("a riddle"))
    await until(lambda: running.gaps)
    assert running.gaps == ["the connection to the broker broke: moved"]


async def test_callers_are_told_that_the_layer_was_closed(running):
    await running.stop()
    assert not running.up
    with pytest.raises(BrokerUnavailable, match="The layer has been closed"):
        await running.wait_until_up()
    assert running.calls[-1] == "disconnected"


async def test_a_connection_is_closed_to_the_end_however_often_that_is_cancelled(running):
    running.closing.clear()
    running._task.cancel()
    await until(lambda: "disconnect" in running.calls)
    running._task.cancel()
    await asyncio.sleep(0)
    assert not running._task.done()
    running.closing.set()
    await asyncio.wait((running._task,))
    assert running.calls[-1] == "disconnected"


# Other event loops


async def test_one_that_has_wound_down_can_go_on(running):
    assert await running.wind_down()
    assert not running.is_ready()
    await running.be_ready()
    assert running.is_ready()
    assert running.calls == ["register", "withdraw", "register"]
    await running.be_ready()
    assert running.calls == ["register", "withdraw", "register"]


async def test_one_that_could_not_wind_down_goes_on(running, monkeypatch):
    monkeypatch.setattr(module, "_LEAVING", 0.01)
    never = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(running, "barrier", lambda: never)
    assert not await running.wind_down()
    assert not running.is_ready()
    await running.be_ready()
    assert running.is_ready()
    assert running.calls == ["register", "withdraw", "register"]


async def test_one_that_withdraws_while_it_registers_is_not_ready(line):
    line.registering = asyncio.Event()
    line.start()
    await until(lambda: line.calls == ["register"])
    winding_down = asyncio.ensure_future(line.wind_down())
    await until(lambda: line.calls == ["register", "withdraw"])
    line.registering.set()
    assert await winding_down
    assert not line.is_ready()
    await line.be_ready()
    assert line.calls == ["register", "withdraw", "register"]


async def test_the_next_connection_lets_one_be_found_that_had_withdrawn(running):
    assert await running.wind_down()
    running.cut()
    await until(lambda: running.gaps)
    assert running.is_ready()
    assert running.calls[-1] == "register"


async def test_one_that_takes_over_tells_of_a_gap_unless_the_former_has_wound_down(running):
    follower = Line()
    follower.resume_from(running)
    await until(lambda: follower.lost)
    follower.start()
    await follower.be_ready()
    assert follower.gaps == follower.lost == ["the event loop that received has ended"]
    await follower.wind_down()
    last = Line()
    last.resume_from(follower)
    await follower.stop()
    last.start()
    await last.be_ready()
    assert last.gaps == last.lost == []
    await last.stop()


async def test_one_that_is_wanted_again_leaves_a_gap(running):
    await running.wind_down()
    await running.be_ready()
    follower = Line()
    follower.resume_from(running)
    await until(lambda: follower.lost)
    assert follower.lost == ["the event loop that received has ended"]


async def test_an_abandoned_one_tells_nobody(running):
    running._gap = "unheard"
    running.abandon()
    await asyncio.wait((running._task,))
    running.start()
    await until(lambda: running.up)
    running.cut()
    await until(lambda: running.calls.count("disconnected") == 2)
    assert running.lost == running.gaps == []


def test_one_of_a_closed_event_loop_can_be_abandoned(monkeypatch):
    loop = asyncio.new_event_loop()

    async def listen():
        line = Line()
        line.start()
        await line.be_ready()
        return line

    line = loop.run_until_complete(listen())
    loop.close()
    line.abandon()
    assert line.calls[0] == "register"
