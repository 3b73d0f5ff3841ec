"""Others cannot fill the log: of each kind some lines at once, then their number."""

import asyncio
import gc
import logging
import re
import threading
import time
import weakref
from types import SimpleNamespace

import pytest

from channels import signals
from channels._runtime import lograte
from channels._runtime.denial import deny
from channels._runtime.faults import blame_client, report
from channels._runtime.lograte import AT_ONCE, Pace
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.security.websocket import OriginValidator
from channels.worker import Worker
from tests.asgi import Server

logger = logging.getLogger("channels.tests.lograte")

SERVED = {"type": "websocket", "path": "/ws/", "headers": [], "asgi": {"version": "3.0"}}


@pytest.fixture
def short(monkeypatch):
    """The rest of a burst is told of soon."""
    monkeypatch.setattr(lograte.pace, "interval", 0.2)


@pytest.fixture
def clock(monkeypatch):
    """What the time is, in seconds. Only a test makes it pass, so no pause is a quiet interval."""
    now = [1000.0]
    monkeypatch.setattr(lograte, "clock", SimpleNamespace(now=lambda: now[0]))
    return now


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def ignore(message):
    pass


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def flood(count, kind="kind"):
    for number in range(count):
        lograte.log(logger, logging.WARNING, kind, "Number %d", number)


def told(caplog):
    """Of how many events the log has told."""
    counts = (re.search(r"one of (\d+) such lines", line) for line in lines(caplog))
    return sum(int(count[1]) if count else 1 for count in counts)


async def test_a_burst_is_told_of_in_some_lines_and_then_in_one_with_the_number(
    short, clock, caplog
):
    start = time.monotonic()
    flood(10_000)
    assert lines(caplog)[:AT_ONCE] == [f"Number {number}" for number in range(AT_ONCE)]
    await until(lambda: told(caplog) == 10_000)
    # One more line, or on a machine that was busy one for each interval that it took.
    intervals = (time.monotonic() - start) / 0.2
    assert AT_ONCE < len(caplog.records) <= AT_ONCE + 1 + intervals
    assert lines(caplog)[-1].startswith("Number 9999 (one of ")


def test_a_flood_that_goes_on_is_one_line_for_each_interval(clock, caplog):
    for _ in range(5):
        flood(1000)
        clock[0] += lograte.INTERVAL
    assert len(caplog.records) == AT_ONCE + 4
    flood(1)
    told = sum(record.args[-1] if len(record.args) > 1 else 1 for record in caplog.records)
    assert told == 5001


def test_after_a_quiet_interval_lines_are_written_as_they_come(clock, caplog):
    flood(AT_ONCE)
    clock[0] += lograte.INTERVAL
    flood(AT_ONCE)
    assert lines(caplog) == [f"Number {number}" for number in range(AT_ONCE)] * 2


def test_a_clock_that_is_set_back_silences_nothing(clock, caplog):
    flood(AT_ONCE)
    clock[0] -= 500
    flood(1)
    assert len(caplog.records) == AT_ONCE + 1


def test_each_kind_has_its_own_lines(caplog):
    flood(50, "one")
    flood(50, "another")
    assert len(caplog.records) == 2 * AT_ONCE


def test_what_is_not_to_be_limited_or_not_to_be_written_counts_for_nothing(caplog):
    for _ in range(50):
        lograte.log(logger, logging.WARNING, "kind", "Always", limited=False)
    assert len(caplog.records) == 50
    logger.setLevel(logging.ERROR)
    try:
        flood(50)
    finally:
        logger.setLevel(logging.NOTSET)
    flood(1)
    assert len(caplog.records) == 51


def test_threads_lose_no_count(clock, caplog):
    threads = [threading.Thread(target=flood, args=(1000,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock[0] += lograte.INTERVAL
    flood(1)
    assert caplog.records[-1].args[-1] == 4001 - AT_ONCE


def test_what_a_closed_event_loop_was_to_tell_is_told_by_another(monkeypatch, caplog):
    async def some(count):
        flood(count)

    asyncio.run(some(100))
    monkeypatch.setattr(lograte.pace, "interval", 0.2)

    async def rest():
        flood(1)
        await until(lambda: "such lines" in caplog.text)

    asyncio.run(rest())
    assert caplog.records[-1].args[-1] == 101 - AT_ONCE


def test_kinds_without_number_do_not_fill_the_memory():
    pace = Pace(1, 10.0)
    admitted = [pace.admit(str(number), lambda count: None) for number in range(5000)]
    assert len(pace.kinds) <= 1001
    assert sum(admitted) <= 1001  # the rest are of one kind


def test_the_caller_is_where_the_line_comes_from(caplog):
    flood(1)
    assert caplog.records[0].funcName == "flood"


# What clients can cause


async def test_wrong_origins_do_not_fill_the_log(short, clock, caplog):
    """But a signal is sent for each of them."""
    heard = []

    def hear(reason, **kwargs):
        heard.append(reason)

    signals.connection_refused.connect(hear)
    validator = OriginValidator(None, ["example.com"])
    start = time.monotonic()
    try:
        for number in range(2000):
            origin = f"https://{number}.example.net".encode()
            await validator({**SERVED, "headers": [(b"origin", origin)]}, None, ignore)
        await until(lambda: told(caplog) == 2000)
    finally:
        signals.connection_refused.disconnect(hear)
    assert len(heard) == 2000
    intervals = (time.monotonic() - start) / 0.2
    assert AT_ONCE < len(caplog.records) <= AT_ONCE + 1 + intervals


async def test_a_test_finds_every_line_that_it_causes(caplog):
    scope = {"type": "websocket", "path": "/ws/"}
    for _ in range(3 * AT_ONCE):
        await deny(scope, ignore, status=403, reason="no")
    assert len(caplog.records) == 3 * AT_ONCE


class Consumer:
    scope = SERVED


@pytest.mark.parametrize("code", [None, 1003, 1007])
def test_frames_that_fail_do_not_fill_the_log(caplog, code):
    for number in range(2000):
        error = ValueError(f"rubbish {number}")
        report(Consumer(), error if code is None else blame_client(error, code))
    assert len(caplog.records) == AT_ONCE


def test_two_mistakes_of_one_class_are_two_kinds(caplog):
    def crash(divisor):
        try:
            return 1 / divisor + {}[divisor]
        except (ZeroDivisionError, KeyError) as error:
            return report(Consumer(), error)

    for _ in range(100):
        crash(0)
    crash(1)
    assert len(caplog.records) == AT_ONCE + 1
    assert caplog.records[-1].exc_info[0] is KeyError


def test_nothing_of_a_connection_is_kept():
    class Exhausting(Consumer):
        pass

    def crash():
        consumer = Exhausting()
        try:
            raise ValueError("no")
        except ValueError as error:
            report(consumer, error)
        return weakref.ref(consumer)

    kept = [crash() for _ in range(3 * AT_ONCE)]
    del kept[:AT_ONCE]  # these are with their tracebacks in what pytest has captured
    gc.collect()
    assert not [consumer for consumer in kept if consumer() is not None]


class Slow(AsyncWebsocketConsumer):
    disconnect_grace = 0

    async def connect(self):
        await asyncio.Event().wait()


class Failing(AsyncWebsocketConsumer):
    async def disconnect(self, code):
        raise ValueError("no")


async def test_abandoned_handshakes_do_not_fill_the_log(caplog):
    for _ in range(3 * AT_ONCE):
        server = Server(Slow.as_asgi())
        server.put("websocket.connect")
        server.start()
        server.put("websocket.disconnect", code=1006)
        await server.ended()
    assert len([line for line in lines(caplog) if "was still running" in line]) == AT_ONCE


async def test_disconnects_that_fail_do_not_fill_the_log(caplog):
    for _ in range(3 * AT_ONCE):
        await (await Server(Failing.as_asgi()).connect()).leave()
    assert len(caplog.records) == AT_ONCE


async def test_layer_messages_of_unknown_types_do_not_fill_the_log(caplog):
    server = await Server(AsyncWebsocketConsumer.as_asgi()).connect()
    layer = get_channel_layer()
    (name,) = layer.channels
    for number in range(3 * AT_ONCE):
        await layer.send(name, {"type": f"chosen.by.client.{number}"})
        await asyncio.sleep(0)
    await layer.send(name, {"type": "websocket.close"})
    await until(lambda: len(caplog.records) >= AT_ONCE)
    await server.leave()
    dropped = [line for line in lines(caplog) if "dropped a layer message" in line]
    assert len(dropped) == AT_ONCE


async def test_messages_of_a_queue_do_not_fill_the_log(caplog):
    async def application(scope, receive, send):
        await receive()
        raise ValueError("no")

    worker = Worker(application, ["jobs"], get_channel_layer())
    for _ in range(3 * AT_ONCE):
        details = {"scope": {"type": "channel", "channel": "jobs"}}
        await worker.application_exception(ValueError("no"), details)
    assert len(caplog.records) == AT_ONCE


def test_long_texts_take_no_long_work():
    validator = OriginValidator(None, ["example.com"])
    origin = b"https://" + b"a." * 500_000 + b"net"
    before = time.process_time()
    asyncio.run(validator({**SERVED, "headers": [(b"origin", origin)]}, None, ignore))
    assert time.process_time() - before < 5


async def test_a_rest_that_was_told_of_with_the_next_line_is_not_told_of_again(clock, caplog):
    pace, later = Pace(1, 0.02), []
    assert pace.admit("kind", later.append) == 1
    assert pace.admit("kind", later.append) == 0
    clock[0] += 1
    assert pace.admit("kind", later.append) == 2
    clock[0] += 1
    await asyncio.sleep(0.06)  # the timer for the rest has rung
    assert later == []
    assert pace.admit("kind", later.append) == 1


@pytest.mark.parametrize("shown", [True, False])
def test_a_filter_that_raises_is_shown_as_logging_shows_failures(shown, monkeypatch, capsys):
    def fail(record):
        raise RuntimeError("a filter's mistake")

    monkeypatch.setattr(logging, "raiseExceptions", shown)
    logger.addFilter(fail)
    try:
        lograte.log(logger, logging.WARNING, "kind", "text", limited=False)
    finally:
        logger.removeFilter(fail)
    assert ("a filter's mistake" in capsys.readouterr().err) is shown
