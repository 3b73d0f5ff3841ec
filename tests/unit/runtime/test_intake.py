"""Two sources into one: order, turns, bounds, and what ends it. More is in test_connection.py."""

import asyncio
import contextlib
from collections import deque

import pytest

from channels._runtime.backstage import untold
from channels._runtime.intake import PROBE, READ_AHEAD, Intake
from tests.asgi import until


class Mailbox:
    overflowed = False

    def __init__(self, *messages):
        self.messages = deque(messages)

    def take(self):
        return self.messages.popleft() if self.messages else None

    async def close(self):
        pass


@pytest.fixture
async def client():
    """The client's events, and an intake that reads them."""

    class Client(asyncio.Queue):
        left = None
        reader = None
        probes = 0

        def ended(self, client_left):
            self.left = client_left

        def probed(self):
            self.probes += 1

        def read(self, receive=None):
            """Let a task read; it is over when the client has left, or the test has ended."""
            reading = self.intake.read(receive or self.get, self.ended, self.probed)
            self.reader = asyncio.create_task(reading)

    client = Client()
    client.intake = Intake("bye")
    yield client
    await client.intake.end()
    if client.reader is not None:
        await client.reader
        assert not client.reader.cancelling()


async def test_a_probe_is_told_of_at_once_and_is_no_event(client):
    """Also while a handler runs, and only in these very words."""
    client.put_nowait({"type": "event", "text": PROBE})
    client.put_nowait({"type": "event", "text": f" {PROBE}"})
    client.put_nowait({"type": "event", "bytes": PROBE.encode()})
    client.put_nowait({"type": "event", "text": PROBE})
    client.read()
    await until(lambda: client.probes == 2)
    assert [client.intake.next() for _ in range(3)] == [
        {"type": "event", "text": f" {PROBE}"},
        {"type": "event", "bytes": PROBE.encode()},
        None,
    ]


async def test_the_sources_take_turns(client):
    for n in range(4):
        client.put_nowait({"type": "event", "n": n})
    client.intake.mailbox = Mailbox(*({"type": "message", "n": n} for n in range(4)))
    client.read()
    await until(client.empty)
    got = [client.intake.next() for _ in range(9)]
    assert got.pop() is None
    assert [m["type"] for m in got] in (["event", "message"] * 4, ["message", "event"] * 4)
    for kind in ("event", "message"):
        assert [m["n"] for m in got if m["type"] == kind] == [0, 1, 2, 3]


async def test_the_intake_knows_where_a_message_came_from(client):
    client.intake.mailbox = Mailbox({"type": "message"})
    client.intake.next()
    assert client.intake.from_layer
    client.intake.put({"type": "event"})
    client.intake.next()
    assert not client.intake.from_layer


async def test_reading_ahead_is_bounded_and_goes_on(client):
    for n in range(READ_AHEAD * 3):
        client.put_nowait({"type": "event", "n": n})
    client.read()
    await until(lambda: client.qsize() == READ_AHEAD * 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert client.qsize() == READ_AHEAD * 2
    got = []
    while len(got) < READ_AHEAD * 3:
        message = client.intake.next()
        if message is None:
            await client.intake.wait()
        else:
            got.append(message["n"])
    assert got == list(range(READ_AHEAD * 3))


async def test_without_a_disconnect_to_notice_the_next_is_read_when_the_last_was_handled():
    events = asyncio.Queue()
    intake = Intake(None)
    for n in range(3):
        events.put_nowait({"type": "event", "n": n})
    reader = asyncio.create_task(intake.read(events.get, lambda client_left: None, lambda: None))
    await until(lambda: events.qsize() == 2)
    assert intake.next()["n"] == 0
    for _ in range(5):
        await asyncio.sleep(0)
    assert events.qsize() == 2  # the first is being handled
    assert intake.next() is None
    await until(lambda: events.qsize() == 1)
    await intake.end()
    await reader


async def test_the_last_event_ends_the_reading_and_is_told(client):
    client.put_nowait({"type": "bye"})
    client.read()
    await client.intake.wait()
    assert client.left
    assert client.intake.next() == {"type": "bye"}
    assert client.intake.failure is None


async def test_a_failure_to_read_is_kept_and_told(client):
    async def receive():
        raise ConnectionResetError("gone")

    client.read(receive)
    await client.intake.wait()
    assert client.left
    assert isinstance(client.intake.failure, ConnectionResetError)


async def test_a_wait_that_was_given_up_does_not_disturb_the_next_wake(client):
    waiting = asyncio.ensure_future(client.intake.wait())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    client.intake.wake()
    client.intake.put({"type": "event"})
    assert client.intake.next() == {"type": "event"}


# Servers that read on unasked


@pytest.fixture
def held(client):
    """What was asked of the server: True to stop reading the client, False to go on."""
    calls = []
    client.intake.hold = calls.append
    return calls


async def test_the_server_is_told_to_stop_and_to_go_on(client, held):
    for n in range(READ_AHEAD - 1):
        client.put_nowait({"type": "event", "n": n})
    client.read()
    await until(client.empty)
    assert held == []
    client.put_nowait({"type": "event"})
    client.put_nowait({"type": "event"})
    await until(lambda: held)
    assert held == [True]
    assert client.qsize() == 1
    client.intake.next()
    await until(client.empty)
    assert held == [True, False, True]
    for _ in range(READ_AHEAD):
        assert client.intake.next() is not None
        await asyncio.sleep(0)
    assert client.intake.next() is None
    assert held == [True, False, True, False]


async def test_a_server_is_not_left_told_to_stop(client, held):
    """Nobody else would tell it to go on, and the client's answer to a close be missed."""
    for _ in range(READ_AHEAD):
        client.put_nowait({"type": "event"})
    client.read()
    await until(lambda: held)
    assert await client.intake.stop()
    assert held == [True, False]
    client.intake.resume()
    client.put_nowait({"type": "bye"})
    await until(lambda: client.left)
    assert held == [True, False]


# Stopping


async def test_a_stopped_intake_reads_nothing_until_it_is_resumed(client):
    client.read()
    await asyncio.sleep(0)
    assert await client.intake.stop()
    assert not await client.intake.stop()
    client.put_nowait({"type": "event"})
    await asyncio.sleep(0)
    assert client.intake.next() is None
    assert not client.left
    client.intake.resume()
    await until(client.empty)
    assert client.intake.next() == {"type": "event"}


async def test_an_intake_that_never_started_is_not_resumed(client):
    assert not await client.intake.stop()
    client.intake.resume()
    assert not await client.intake.stop()


async def test_stopping_an_intake_that_has_ended_says_that_it_was_not_reading(client):
    client.put_nowait({"type": "bye"})
    client.read()
    await until(lambda: client.left)
    assert not await client.intake.stop()


async def test_an_ended_intake_is_not_resumed(client):
    client.read()
    await asyncio.sleep(0)
    await client.intake.end()
    await client.reader
    client.intake.resume()
    client.put_nowait({"type": "event"})
    for _ in range(5):
        await asyncio.sleep(0)
    assert client.qsize() == 1
    await client.intake.end()


async def test_an_intake_that_is_ended_while_stopped_ends(client):
    client.read()
    await asyncio.sleep(0)
    assert await client.intake.stop()
    await client.intake.end()
    await client.reader


async def test_two_stops_at_once_do_not_count_as_a_cancellation(client):
    client.read()
    await asyncio.sleep(0)
    stops = [asyncio.create_task(client.intake.stop()) for _ in range(2)]
    assert [await stop for stop in stops] == [True, True]
    client.intake.resume()
    client.put_nowait({"type": "event"})
    await until(client.empty)
    assert client.intake.next() == {"type": "event"}


async def test_an_intake_that_is_ended_before_its_start_reads_nothing(client):
    await client.intake.end()
    client.put_nowait({"type": "event"})
    client.read()
    await client.reader
    assert client.qsize() == 1


# The task that reads is the server's, and may be cancelled


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_cancellation_by_others_is_theirs(client, stopped):
    client.read()
    await asyncio.sleep(0)
    if stopped:
        assert await client.intake.stop()
    reader, client.reader = client.reader, None
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert not await client.intake.stop()


async def test_a_cancellation_by_others_at_the_same_time_is_theirs(client):
    client.read()
    await asyncio.sleep(0)
    reader, client.reader = client.reader, None
    stopping = asyncio.create_task(client.intake.stop())
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await stopping
    assert reader.cancelling() == 1


async def test_a_cancellation_that_others_have_swallowed_before_is_no_reason_to_end(client):
    async def read():
        asyncio.current_task().cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await client.intake.read(client.get, client.ended, client.probed)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await client.intake.stop()
    client.intake.resume()
    client.put_nowait({"type": "bye"})
    await reader
    assert client.left
    assert reader.cancelling() == 1


async def test_a_server_that_swallows_the_cancellation_is_left_without_one(client):
    async def receive():
        with contextlib.suppress(asyncio.CancelledError):
            await client.get()
        return {"type": "bye"}

    client.read(receive)
    await asyncio.sleep(0)
    assert await client.intake.stop()
    await client.reader
    assert client.left


async def test_a_server_may_have_tasks_of_its_own_kind(client):
    """Such as Granian's, which call the application without a task of asyncio's."""
    loop = asyncio.get_running_loop()
    reading = client.intake.read(client.get, client.ended, client.probed)
    over = loop.create_future()

    def step(_=None):
        try:
            future = reading.send(None)
        except StopIteration:
            over.set_result(None)
        else:
            future._asyncio_future_blocking = False
            future.add_done_callback(step)

    loop.call_soon(step)
    client.put_nowait({"type": "event"})
    await until(lambda: client.empty() and client.intake.next())
    assert await client.intake.stop()
    await client.intake.end()
    await over


async def test_what_is_read_while_it_ends_is_the_last(client):
    """A server that swallows the cancellation, and has an event nevertheless."""
    read = []

    async def receive():
        with contextlib.suppress(asyncio.CancelledError):
            await client.get()
        read.append({"type": "event"})
        return read[-1]

    client.read(receive)
    await asyncio.sleep(0)
    await client.intake.end()
    await client.reader
    assert len(read) == 1


@pytest.mark.parametrize("converts", [False, True])
def test_nothing_is_told_of_a_client_whose_event_loop_was_closed(converts):
    told = []

    async def receive():
        try:
            await asyncio.Event().wait()
        except GeneratorExit:
            if not converts:
                raise
            raise ValueError("what a middleware makes of it") from None

    async def begin():
        intake = Intake("bye")
        task = untold(asyncio.create_task(intake.read(receive, told.append, lambda: None)))
        await asyncio.sleep(0)
        return intake, task

    loop = asyncio.new_event_loop()
    intake, task = loop.run_until_complete(begin())
    loop.close()
    task.get_coro().close()
    assert told == []
    assert intake.failure is None


async def test_after_a_refusal_only_the_last_event_comes():
    intake = Intake("websocket.disconnect")
    intake.put({"type": "websocket.receive", "text": "late"})
    intake.refuse()
    assert intake.next() is None
    intake.put({"type": "websocket.receive", "text": "later"})
    intake.put({"type": "websocket.disconnect"})
    assert intake.next()["type"] == "websocket.disconnect"
