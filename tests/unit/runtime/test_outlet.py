"""What goes out of one connection, message by message."""

import asyncio
import logging
import sys
from types import ModuleType

import pytest

from channels import signals
from channels._runtime.intake import Intake
from channels._runtime.lifecycle import CLOSED, CLOSING, CONNECTING, LEFT, OPEN, REFUSED, Lifecycle
from channels._runtime.outlet import Outlet
from channels._runtime.pending_sends import PendingSends
from channels._runtime.running_handler import RunningHandler
from channels._runtime.servers.base import Server
from tests.asgi import until
from tests.unit.runtime.servers.standins import Daphne, Transport, from_module

START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"x"}
ACCEPT = {"type": "websocket.accept"}
TEXT = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close", "code": 4000}


class Consumer:
    disconnect_grace = 0.05
    send_timeout = 20.0

    def __init__(self, scope):
        self.scope = scope

    async def dispatch(self, message):
        raise AssertionError


class Bench:
    """An outlet, with a server's ``send`` at its end."""

    def __init__(self, scope_type="websocket", **scope):
        self.scope = {"type": scope_type, "asgi": {}, "path": "/here/", **scope}
        self.sent = []
        self.fails_with = self.blocks = self.sends = None
        self.pending = PendingSends()
        self.events = asyncio.Queue()
        self.receiving = 0
        self.intake = Intake(f"{scope_type}.disconnect")
        self.consumer = Consumer(self.scope)
        self.life = Lifecycle(scope_type, self.intake, RunningHandler(self.consumer))
        self.outlet = Outlet(self.consumer, self.send, self.life, self.intake, self.pending)

    async def send(self, message):
        if self.sends is not None:
            await self.sends(message)
            return
        if self.blocks is not None:
            await self.blocks.wait()
        if self.fails_with is not None:
            raise self.fails_with
        self.sent.append(message)

    def events_put(self):
        """The disconnects that the outlet's reports have led to."""
        return list(iter(self.intake.next, None))

    def read(self):
        """Let the client be read, as it is while its connection lasts."""
        reading = self.intake.read(self.receive, self.life.reading_ended, self.outlet.answer_probe)
        self.reader = asyncio.create_task(reading)

    async def receive(self):
        self.receiving += 1
        try:
            return await self.events.get()
        finally:
            self.receiving -= 1

    async def say(self, *messages):
        for message in messages:
            await self.outlet.send(message)


@pytest.fixture
async def bench():
    made = []

    def make(*arguments, **scope):
        made.append(Bench(*arguments, **scope))
        return made[-1]

    yield make
    for one in made:
        await one.intake.end()
        one.life.ended()
        assert one.pending == {}
        assert not one.outlet.given_up


@pytest.fixture
def dropped():
    """The types of the messages that were dropped."""
    types = []

    def listen(signal, sender, consumer, scope, message_type):
        assert sender is Consumer
        assert consumer.scope is scope
        types.append(message_type)

    signals.send_dropped.connect(listen)
    yield types
    signals.send_dropped.disconnect(listen)


# WebSockets


async def test_messages_go_as_they_are_and_in_order(bench, dropped):
    one = bench()
    await one.say(ACCEPT, TEXT, TEXT, CLOSE)
    assert one.sent == [ACCEPT, TEXT, TEXT, CLOSE]
    assert dropped == []
    assert (one.life.phase, one.life.code) == (CLOSING, 4000)


async def test_what_comes_after_the_close_is_dropped_and_signalled(bench, dropped):
    one = bench()
    await one.say(ACCEPT, CLOSE, TEXT, {**CLOSE, "code": 4001}, ACCEPT)
    assert one.sent == [ACCEPT, CLOSE]
    assert one.life.code == 4000
    assert dropped == ["websocket.send", "websocket.close", "websocket.accept"]


async def test_what_comes_after_the_client_has_gone_is_dropped_and_signalled(bench, dropped):
    one = bench()
    await one.say(ACCEPT)
    one.intake.mailbox = object()
    one.life.client_left()
    await one.say(TEXT, CLOSE)
    assert one.sent == [ACCEPT]
    assert dropped == ["websocket.send", "websocket.close"]
    assert one.intake.mailbox is None  # what the layer has is of no use
    assert one.life.phase is LEFT


@pytest.mark.parametrize(("message", "code"), [({}, 1000), ({"code": None}, 1000)])
async def test_a_close_without_a_code_is_1000(bench, message, code):
    one = bench()
    await one.say(ACCEPT, {"type": "websocket.close", **message})
    assert one.life.code == code


async def test_a_client_that_leaves_during_a_send_is_no_error(bench, dropped):
    one = bench()
    await one.say(ACCEPT)
    one.fails_with = ConnectionResetError()
    await one.say(TEXT)
    assert one.life.phase is LEFT
    await one.say(TEXT)
    assert dropped == ["websocket.send"]


async def test_a_client_that_leaves_during_the_close_is_due_once(bench):
    one = bench()
    await one.say(ACCEPT)
    one.fails_with = ConnectionResetError()
    await one.say(CLOSE)
    assert one.life.phase is CLOSED


async def test_a_close_that_the_server_refuses_is_not_one(bench):
    one = bench()
    await one.say(ACCEPT)
    one.fails_with = ValueError("invalid close code")
    with pytest.raises(ValueError, match="invalid close code"):
        await one.say({**CLOSE, "code": 1012})
    assert (one.life.phase, one.life.code) == (OPEN, None)
    one.fails_with = None
    await one.say(TEXT, CLOSE)
    assert one.sent[-1] == CLOSE


async def test_an_error_of_the_server_is_the_senders(bench, dropped):
    one = bench()
    await one.say(ACCEPT)
    one.fails_with = RuntimeError("no")
    with pytest.raises(RuntimeError):
        await one.say(TEXT)
    assert one.life.phase is OPEN
    assert dropped == []


@from_module("uvicorn.protocols.websockets.some_impl")
class UvicornBench(Bench):
    transport = Transport()

    async def send(self, message):
        await super().send(message)
        self.receiving_meanwhile = self.receiving


PONG = {"type": "websocket.send", "text": '{"type":"channels.pong"}'}


async def test_a_probe_is_answered(bench):
    one = bench()
    await one.say(ACCEPT)
    one.outlet.answer_probe()
    await until(lambda: one.sent == [ACCEPT, PONG])


async def test_one_answer_at_a_time_waits_for_the_client(bench):
    one = bench()
    await one.say(ACCEPT)
    one.blocks = asyncio.Event()
    for _ in range(3):
        one.outlet.answer_probe()
        await asyncio.sleep(0)
    one.blocks.set()
    await until(lambda: one.sent == [ACCEPT, PONG])
    one.outlet.answer_probe()
    await until(lambda: one.sent == [ACCEPT, PONG, PONG])


@pytest.mark.parametrize("before", [[], [ACCEPT, CLOSE]], ids=["handshake", "closed"])
async def test_a_probe_is_answered_only_while_the_socket_is_open(bench, before, dropped):
    one = bench()
    await one.say(*before)
    one.outlet.answer_probe()
    await asyncio.sleep(0)
    assert one.sent == before
    assert dropped == []


async def test_a_socket_that_closes_before_the_answer_gets_none(bench, dropped):
    one = bench()
    await one.say(ACCEPT)
    one.outlet.answer_probe()
    await one.say(CLOSE)
    await asyncio.sleep(0)
    assert one.sent == [ACCEPT, CLOSE]
    assert dropped == []


async def test_an_answer_that_the_server_refuses_is_no_failure(bench, caplog):
    caplog.set_level(logging.DEBUG, "channels.consumer")
    one = bench()
    await one.say(ACCEPT)
    one.fails_with = RuntimeError("no")
    one.outlet.answer_probe()
    await until(lambda: "answering a probe failed" in caplog.text)


async def test_the_end_of_the_connection_does_not_wait_for_an_answer(bench):
    one = bench()
    await one.say(ACCEPT)
    one.outlet.stop_answering()
    one.blocks = asyncio.Event()
    one.outlet.answer_probe()
    await until(lambda: one.pending)
    one.outlet.stop_answering()
    await until(lambda: not one.pending)


async def test_a_server_that_can_be_closed_while_it_is_read_is_read_on():
    one = UvicornBench(headers=[])
    one.read()
    await until(lambda: one.receiving == 1)
    await one.say(ACCEPT, CLOSE)
    assert one.sent == [ACCEPT, CLOSE]
    assert one.receiving_meanwhile == 1
    await one.intake.end()


async def test_a_server_that_needs_help_is_sent_to_and_held_by_its_adapter(monkeypatch):
    monkeypatch.setitem(sys.modules, "daphne.ws_protocol", object())
    client = Daphne()
    one = Bench()
    one.consumer.scope = client.scope
    outlet = Outlet(one.consumer, client.send, one.life, one.intake, one.pending)
    outlet.begin(client.receive)
    await outlet.send({"type": "websocket.send", "text": ""})
    assert client.protocol.sent == [(b"", False)]  # Daphne itself sends no empty messages
    one.intake.hold(True)
    assert client.transport.log == ["pause"]


async def test_reading_stops_while_the_close_is_sent_and_goes_on_after(bench):
    one = bench()
    one.read()
    await one.say(ACCEPT)
    await until(lambda: one.receiving == 1)
    one.blocks = asyncio.Event()
    closing = asyncio.create_task(one.say(CLOSE))
    await until(lambda: one.pending)
    assert one.receiving == 0
    one.blocks.set()
    await closing
    await until(lambda: one.receiving == 1)  # there is a disconnect to come


async def test_the_disconnect_is_read_when_the_client_has_left_during_the_close(bench):
    one = bench()
    one.read()
    await one.say(ACCEPT)
    await until(lambda: one.receiving == 1)
    one.fails_with = ConnectionResetError()
    await one.say(CLOSE)
    one.events.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await one.reader
    assert one.events_put() == [{"type": "websocket.disconnect", "code": 1006}]


async def test_reading_does_not_go_on_when_the_connection_ended_during_the_close(bench):
    """As when a close is on its way while the consumer ends."""
    one = bench()
    one.read()
    await one.say(ACCEPT)
    await until(lambda: one.receiving == 1)
    one.blocks = asyncio.Event()
    closing = asyncio.create_task(one.say(CLOSE))
    await until(lambda: one.pending)
    await one.intake.end()
    one.blocks.set()
    await closing
    await one.reader
    assert one.receiving == 0


# HTTP


async def test_a_response_is_sent_and_then_a_disconnect_is_due(bench):
    one = bench("http")
    await one.say(START, BODY)
    assert one.life.phase is OPEN
    await one.say(LAST)
    assert one.life.phase is CLOSING
    assert one.sent == [START, BODY, LAST]
    assert one.life.code is None


async def test_a_denial_response_closes_a_websocket(bench, dropped):
    one = bench()
    start = {"type": "websocket.http.response.start", "status": 401}
    body = {"type": "websocket.http.response.body", "body": b"no"}
    await one.say(start, {**body, "more_body": True})
    assert one.life.phase is CONNECTING
    await one.say(body)
    assert one.life.phase is REFUSED
    await one.say(TEXT)
    assert dropped == ["websocket.send"]


@pytest.mark.parametrize(
    ("headers", "endless"),
    [
        ([(b"content-type", b"text/event-stream")], True),
        ([(b"Content-Type", b"text/event-stream")], True),
        ([(b"content-type", b"Text/Event-Stream")], True),
        ([(b"content-type", b"text/event-stream; charset=utf-8")], True),
        ([(b"cache-control", b"no-cache"), (b"CONTENT-TYPE", b"text/event-stream")], True),
        ([(b"content-type", b"text/html")], False),
        ([(b"x-type", b"text/event-stream")], False),
        ([(b"accept", b"text/event-stream")], False),
        ([], False),
        (None, False),
    ],
)
async def test_the_outlet_knows_a_stream_of_events(bench, headers, endless):
    one = bench("http")
    await one.say({**START, "headers": headers})
    assert one.life.event_stream is endless


async def test_headers_that_can_be_read_but_once_are_left_for_the_server(bench):
    one = bench("http")
    pair = (b"content-type", b"text/event-stream")
    await one.say({**START, "headers": (pair for _ in range(1))})
    assert one.life.event_stream
    assert list(one.sent[0]["headers"]) == [pair]


async def test_a_start_without_headers_is_no_stream(bench):
    one = bench("http")
    await one.say(START)
    assert not one.life.event_stream


async def test_ending_a_response(bench):
    one = bench("http")
    await one.say(START, BODY)
    await one.outlet.end_response()
    assert one.sent[2:] == [{"type": "http.response.body", "body": b""}]
    assert one.life.phase is CLOSED
    await one.say(BODY)  # by a handler that does not know
    assert len(one.sent) == 3


async def test_ending_a_response_that_has_ended_sends_nothing(bench):
    one = bench("http")
    await one.say(START, LAST)
    await one.outlet.end_response()
    await one.outlet.end_response()
    assert one.sent == [START, LAST]
    assert one.life.phase is CLOSED


async def test_ending_a_response_on_a_server_that_fails(bench, caplog):
    one = bench("http")
    await one.say(START)
    one.fails_with = RuntimeError("no")
    with caplog.at_level(logging.DEBUG, "channels.consumer"):
        await one.outlet.end_response()
    assert one.life.phase is CLOSED
    [record] = caplog.records
    assert record.getMessage() == "Consumer at /here/: ending failed"


async def test_a_response_without_an_end_is_left_to_the_server(bench):
    one = bench("http")
    await one.say(START, BODY)
    await one.outlet.say_goodbye(1011)
    assert one.sent == [START, BODY]


async def test_a_stream_of_events_may_end_anywhere(bench):
    one = bench("http")
    headers = [(b"content-type", b"text/event-stream")]
    await one.say({**START, "headers": headers}, BODY)
    await one.outlet.say_goodbye(1011)
    assert one.sent[2:] == [{"type": "http.response.body", "body": b""}]


async def test_a_response_that_cannot_be_broken_off_is_ended(bench, monkeypatch):
    one = bench("http")
    await one.say(START, BODY)
    monkeypatch.setattr(Server, "break_off", lambda self: False)
    await one.outlet.say_goodbye(1011)
    assert one.sent[2:] == [{"type": "http.response.body", "body": b""}]


async def test_what_is_sent_to_a_stream_that_was_closed_is_dropped(bench):
    one = bench("http")
    headers = [(b"content-type", b"text/event-stream")]
    await one.say({**START, "headers": headers}, LAST, BODY)
    assert len(one.sent) == 2


# Last words


async def test_goodbye_to_an_open_socket_is_a_close_and_said_once(bench):
    one = bench()
    await one.say(ACCEPT)
    await one.outlet.say_goodbye(1012)
    await one.outlet.say_goodbye(1000)
    assert one.sent[1:] == [{"type": "websocket.close", "code": 1012}]
    assert one.life.code == 1012


async def test_two_goodbyes_at_once_are_one(bench):
    one = bench()
    one.read()
    await one.say(ACCEPT)
    one.blocks = asyncio.Event()
    both = asyncio.gather(one.outlet.say_goodbye(1012), one.outlet.say_goodbye(1000))
    await until(lambda: one.pending)
    one.blocks.set()
    await both
    assert one.sent[1:] == [{"type": "websocket.close", "code": 1012}]
    assert one.life.code == 1012


@pytest.mark.parametrize(
    ("code", "arguments", "status"),
    [(1000, {}, 403), (1011, {}, 500), (1012, {"status": 503}, 503)],
)
async def test_goodbye_to_a_handshake_is_a_refusal(bench, code, arguments, status):
    one = bench(extensions={"websocket.http.response": {}})
    await one.outlet.say_goodbye(code, **arguments)
    assert one.sent[0]["type"] == "websocket.http.response.start"
    assert one.sent[0]["status"] == status
    assert (one.life.phase, one.life.code) == (CLOSING, code)
    plain = bench()
    await plain.outlet.say_goodbye(code, **arguments)
    assert plain.sent == [{"type": "websocket.close"}]
    await plain.outlet.say_goodbye(code, **arguments)
    assert len(plain.sent) == 1


async def test_goodbye_to_a_request_without_a_response(bench):
    one = bench("http")
    await one.outlet.say_goodbye(1012, status=503)
    assert [message.get("status") for message in one.sent] == [503, None]
    assert one.life.phase is CLOSING


async def test_goodbye_to_a_response_under_way_is_not_said(bench):
    one = bench("http")
    await one.say(START, BODY)
    await one.outlet.say_goodbye(1000)
    assert one.sent == [START, BODY]


async def test_goodbye_to_other_protocols_is_not_said(bench):
    one = bench("channel")
    await one.outlet.say_goodbye(1000)
    assert one.sent == []


async def test_goodbye_on_a_server_that_refuses_the_code(bench):
    one = bench()
    await one.say(ACCEPT)

    async def like_autobahn(message):
        if message.get("code", 1000) not in {1000, *range(3000, 5000)}:
            raise ValueError("invalid close code")
        one.sent.append(message)

    one.sends = like_autobahn
    await one.outlet.say_goodbye(1012)
    assert one.sent[1:] == [{"type": "websocket.close"}]
    assert (one.life.phase, one.life.code) == (CLOSING, 1012)


async def test_a_goodbye_that_the_server_fails_to_send_raises_nothing(bench, caplog):
    one = bench()
    await one.say(ACCEPT)
    one.fails_with = RuntimeError("no")
    with caplog.at_level(logging.DEBUG, "channels.consumer"):
        await one.outlet.say_goodbye(1011)
    [record] = caplog.records
    assert record.getMessage() == "Consumer at /here/: closing failed"
    assert one.life.code == 1011


# Giving up


async def blocked(one, *messages):
    """A task that sends, and waits for the server."""
    one.blocks = asyncio.Event()
    known = set(one.pending)
    task = asyncio.create_task(one.say(*(messages or (TEXT,))))
    await until(lambda: set(one.pending) - known)
    [sending] = set(one.pending) - known
    pending = one.pending[sending]
    assert (pending.sender, pending.task) == (one.outlet, task)
    return sending, task


async def test_giving_up_lets_the_task_go_on_as_if_it_had_sent(bench, dropped, caplog):
    one = bench()
    await one.say(ACCEPT)
    sending, task = await blocked(one)
    one.outlet.give_up(sending, task, 12.3456)
    await task
    assert task.cancelling() == 0
    assert dropped == ["websocket.send"]
    assert one.life.phase is LEFT
    assert one.events_put() == [{"type": "websocket.disconnect", "code": 1013}]
    [record] = caplog.records
    assert record.getMessage().startswith("Consumer at /here/: the client has not read for 12.3 s;")


async def test_giving_up_twice_is_said_once(bench, caplog):
    one = bench()
    await one.say(ACCEPT)
    writes = [await blocked(one), await blocked(one)]
    for sending, task in writes:
        one.outlet.give_up(sending, task, 1.0)
    await asyncio.gather(*(task for _, task in writes))
    assert len(one.events_put()) == 1
    assert len(caplog.records) == 1


async def test_giving_up_on_a_send_of_no_task(bench):
    one = bench()
    future = asyncio.get_running_loop().create_future()
    one.outlet.give_up(future, None, 1.0)
    assert len(one.events_put()) == 1
    assert not future.cancelled()


@pytest.mark.parametrize("scope", [{"path": ""}, {"path": None}, {}], ids=["empty", "none", "no"])
async def test_a_scope_without_a_path_has_a_name_in_the_log(bench, caplog, scope):
    one = bench("http")
    del one.scope["path"]
    one.scope.update(scope)
    one.outlet.give_up(asyncio.get_running_loop().create_future(), None, 1.0)
    assert "Consumer at http: the client" in caplog.text


@pytest.mark.parametrize("first", ["give_up", "cancel"])
async def test_a_cancellation_from_outside_wins(bench, first, dropped):
    one = bench()
    await one.say(ACCEPT)
    sending, task = await blocked(one)
    if first == "cancel":
        task.cancel()
    one.outlet.give_up(sending, task, 1.0)
    if first == "give_up":
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1
    assert dropped == []


async def test_a_task_that_cleans_up_after_a_cancellation_is_cancelled_again(bench):
    """It had been cancelled before, and sends while it ends."""
    one = bench()
    await one.say(ACCEPT)
    log = []

    async def clean_up():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await one.say(TEXT)
            finally:
                log.append(asyncio.current_task().cancelling())

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    one.blocks = asyncio.Event()
    task.cancel()
    await until(lambda: one.pending)
    [sending] = one.pending
    one.outlet.give_up(sending, task, 1.0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == [1]


@pytest.mark.parametrize("error", [OSError("broken"), RuntimeError("broken")])
async def test_an_error_instead_of_the_cancellation_leaves_no_trace(bench, error):
    one = bench()
    await one.say(ACCEPT)

    async def send(message):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    one.sends = send
    left = []

    async def say():
        try:
            await one.say(TEXT)
        except RuntimeError as caught:
            left.append(caught)
        left.append(asyncio.current_task().cancelling())

    task = asyncio.create_task(say())
    await until(lambda: one.pending)
    [sending] = one.pending
    one.outlet.give_up(sending, task, 1.0)
    await task
    assert left == ([0] if isinstance(error, OSError) else [error, 0])


async def test_a_cancelled_send_is_no_longer_pending(bench):
    one = bench()
    await one.say(ACCEPT)
    _, task = await blocked(one)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one.pending == {}
    assert one.life.phase is OPEN
    one.blocks = None
    await one.say(TEXT)
    assert one.sent == [ACCEPT, TEXT]


async def test_a_cancelled_close_was_said(bench):
    """It cannot be known whether the client will get it."""
    one = bench()
    await one.say(ACCEPT)
    _, task = await blocked(one, CLOSE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one.life.phase is CLOSING


async def test_a_server_that_needs_no_help_gets_none_where_daphne_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "daphne.ws_protocol", ModuleType("daphne.ws_protocol"))
    bench = Bench()
    bench.outlet.begin(bench.events.get)
    assert bench.intake.hold is None
    await bench.outlet.send(ACCEPT)
    assert bench.sent == [ACCEPT]


async def test_what_was_taken_is_told_also_when_the_server_had_to_wait(bench):
    heard = []

    def receiver(message_type, **others):
        heard.append(message_type)

    one = bench()
    signals.message_sent.connect(receiver)
    try:
        await one.say(ACCEPT, TEXT)
        one.blocks = asyncio.Event()
        sending = asyncio.create_task(one.outlet.send(TEXT))
        await until(lambda: len(one.pending) == 1)
        assert heard == ["websocket.send"]
        one.blocks.set()
        await sending
        assert heard == ["websocket.send"] * 2
    finally:
        signals.message_sent.disconnect(receiver)


class Ticker:
    """Counts the turns that others have on the event loop."""

    def __init__(self):
        self.turns = 0

    async def run(self):
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    async def __aenter__(self):
        self._task = asyncio.create_task(self.run())
        await until(lambda: self.turns)
        self.turns = 0
        return self

    async def __aexit__(self, *exception):
        self._task.cancel()


@pytest.mark.parametrize(
    ("content", "count", "least"),
    [
        ({"text": "x" * 100_000}, 50, 49),
        ({"bytes": b"x" * 100_000}, 50, 49),
        ({"text": "x"}, 1000, 15),
        ({"text": ""}, 65, 1),
    ],
)
async def test_a_loop_that_sends_lets_others_have_their_turn(bench, content, count, least):
    one = bench()
    await one.say(ACCEPT)
    async with Ticker() as others:
        for _ in range(count):
            await one.say({"type": "websocket.send", **content})
        assert least <= others.turns <= count
    assert len(one.sent) == count + 1


async def test_large_messages_after_small_ones_let_others_have_their_turn(bench):
    one = bench()
    await one.say(ACCEPT)
    async with Ticker() as others:
        for _ in range(64):
            await one.say({"type": "websocket.send", "text": "x"})
        others.turns = 0
        for _ in range(100):
            await one.say({"type": "websocket.send", "text": "x" * 100_000})
        assert others.turns >= 100 - 64


async def test_a_response_in_many_parts_lets_others_have_their_turn(bench):
    one = bench("http")
    await one.say(START)
    async with Ticker() as others:
        for _ in range(20):
            await one.say({**BODY, "body": b"x" * 100_000})
        assert others.turns == 19
