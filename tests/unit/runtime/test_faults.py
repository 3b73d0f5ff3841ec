"""A client's mistakes are marked as such, and what crashes is told whatever comes of that."""

import asyncio
import json
import signal

import pytest

from channels import signals
from channels._runtime.faults import (
    attempt,
    blame_client,
    client_close_code,
    client_words,
    explain,
    report,
    tell_crash,
)
from channels.exceptions import (
    BrokerUnavailable,
    InvalidChannelLayerError,
    StopConsumer,
    UnknownMessageType,
)


def test_the_mark_leaves_the_error_what_it_was():
    def decode():
        try:
            json.loads("{")
        except ValueError as error:
            blame_client(error, 1007)
            raise

    with pytest.raises(json.JSONDecodeError) as caught:
        decode()
    assert client_close_code(caught.value) == 1007
    assert str(caught.value).startswith("Expecting property name")


def test_it_returns_the_very_error():
    error = ValueError("x")
    assert blame_client(error, 1003) is error
    assert client_words(error) == {"status": 500, "reason": ""}


@pytest.mark.parametrize("error", [ValueError(), KeyError("x"), KeyboardInterrupt(), Exception()])
def test_other_errors_are_not_the_clients(error):
    assert client_close_code(error) is None
    assert client_words(error) == {}


def test_what_is_raised_because_of_it_is_not_the_clients():
    error = RuntimeError()
    error.__cause__ = error.__context__ = blame_client(ValueError(), 1007)
    assert client_close_code(error) is None
    assert client_words(error) == {}


class Consumer:
    scope = {"type": "websocket", "path": "/ws/"}


@pytest.fixture
def crashes():
    """What the listeners were told."""
    told = []

    def listen(signal, sender, **arguments):
        told.append((sender, arguments["exception"]))

    signals.consumer_crashed.connect(listen)
    yield told
    signals.consumer_crashed.disconnect(listen)


def test_a_clients_mistake_is_one_line(caplog, crashes):
    error = blame_client(ValueError("no\nJSON"), 1007)
    assert report(Consumer(), error) == 1007
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message == "Consumer at /ws/ closed with 1007: ValueError: no\\nJSON"
    assert record.exc_info is None
    assert crashes == []


def test_an_unknown_type_needs_no_traceback(caplog, crashes):
    error = UnknownMessageType("No handler for x.y")
    assert report(Consumer(), error) == 1011
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    assert record.message == "Consumer at /ws/: No handler for x.y"
    assert crashes == [(Consumer, error)]


def test_a_crash_has_its_traceback(caplog, crashes):
    error = KeyError("x")
    assert report(Consumer(), error) == 1011
    [record] = caplog.records
    assert (record.message, record.exc_info[1]) == ("Consumer at /ws/ crashed", error)
    assert crashes == [(Consumer, error)]


@pytest.mark.parametrize(
    "error",
    [BrokerUnavailable("no answer for 30 seconds"), InvalidChannelLayerError("no such layer")],
)
def test_what_is_wrong_elsewhere_is_one_line(caplog, crashes, error):
    assert report(Consumer(), error) == 1011
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    assert record.message == f"Consumer at /ws/ closed with 1011: {type(error).__name__}: {error}"
    assert crashes == [(Consumer, error)]


class PutAway:
    scope = None  # as the consumer has it


SERVED = {"asgi": {}, **Consumer.scope}


@pytest.mark.parametrize("error", [ValueError("x"), blame_client(ValueError("x"), 1007)])
async def test_a_crash_is_told_and_has_a_code(caplog, crashes, error):
    code = tell_crash(Consumer(), SERVED, error, of_client=True)
    assert code == (client_close_code(error) or 1011)
    assert len(caplog.records) == 1


async def test_a_crash_under_no_server_is_left_to_the_caller(caplog, crashes):
    assert tell_crash(Consumer(), Consumer.scope, ValueError("x"), of_client=True) == 1011
    assert caplog.records == crashes == []


async def test_a_crash_that_cannot_be_told_is_reported_to_the_event_loop(caplog):
    assert tell_crash(PutAway(), SERVED, ValueError("x"), of_client=True) == 1011
    [record] = caplog.records
    assert (record.name, record.exc_info[0]) == ("asyncio", AttributeError)


async def test_an_attempt_tells_what_fails_and_raises_nothing(caplog, crashes):
    async def step():
        raise error

    error = SystemExit()
    assert await attempt(Consumer(), SERVED, step) is None
    assert crashes == [(Consumer, error)]
    assert caplog.records[0].getMessage() == "Consumer at /ws/ failed while it was disconnecting"
    error = StopConsumer()
    assert await attempt(Consumer(), SERVED, step) is None
    assert len(caplog.records) == 1


async def test_an_attempt_whose_failure_cannot_be_told_raises_nothing(caplog):
    async def step():
        raise LookupError

    assert await attempt(PutAway(), SERVED, step) is None
    assert [record.name for record in caplog.records] == ["asyncio"]


async def test_an_attempt_returns_a_cancellation_that_was_requested():
    async def step():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    cancelled = await attempt(Consumer(), SERVED, step)
    assert isinstance(cancelled, asyncio.CancelledError)
    asyncio.current_task().uncancel()


async def test_an_attempt_is_ended_by_ctrl_c():
    async def step():
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            await attempt(Consumer(), SERVED, step)
    finally:
        signal.signal(signal.SIGINT, before)


class WithoutALayer(Consumer):
    channel_layer = None


@pytest.mark.parametrize(
    ("read", "explained"),
    [
        (lambda consumer: consumer.channel_layer.group_add, True),
        (lambda consumer: consumer.channel_name, True),
        (lambda consumer: consumer.channel_layer.misspelt, False),
        (lambda consumer: consumer.misspelt, False),
        (lambda consumer: "text".channel_name, False),
    ],
)
def test_what_only_a_layer_has_names_the_setting(read, explained):
    consumer = WithoutALayer()
    with pytest.raises(AttributeError) as caught:
        read(consumer)
    explain(consumer, caught.value)
    notes = getattr(caught.value, "__notes__", [])
    assert ["WithoutALayer.channel_layer is None" in note for note in notes] == [True] * explained
