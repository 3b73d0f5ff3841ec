"""The plan, and how many connections end by it. A single one is in test_connection_drain.py."""

import asyncio
import itertools
import logging
import math
import signal
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from channels import signals
from channels._runtime import draining
from channels._runtime.connections import Connections, connections
from channels._runtime.draining import Plan, drain, is_draining, prepare, release
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from tests.asgi import DEADLINE, Server, until

DENIAL = {"extensions": {"websocket.http.response": {}}}


pytestmark = pytest.mark.usefixtures("layer")


@pytest.fixture
def heard():
    """The signals that were sent, by name."""
    calls = {"server_draining": [], "connection_refused": [], "connection_closed": []}
    listeners = {}
    for name, heard in calls.items():

        def listen(signal, sender, *, heard=heard, **arguments):
            heard.append({"sender": sender, **arguments})

        getattr(signals, name).connect(listen)
        listeners[name] = listen
    yield calls
    for name, listen in listeners.items():
        getattr(signals, name).disconnect(listen)


@pytest.fixture
def echo():
    """A consumer class, with all its instances in ``made``."""

    class Echo(AsyncWebsocketConsumer):
        made = []
        groups = ("room",)

        async def connect(self):
            self.codes = []
            self.made.append(self)
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

        async def disconnect(self, code):
            self.codes.append(code)

    return Echo


def answer_closes(server):
    """Let the client close when it is told to, as browsers do."""

    async def on_send(message):
        if message["type"] == "websocket.close":
            server.put("websocket.disconnect", code=message.get("code"))

    server.on_send = on_send
    return server


async def connect(consumer_class, count):
    return [answer_closes(await Server(consumer_class.as_asgi()).connect()) for _ in range(count)]


# The plan


@pytest.mark.parametrize(
    ("setting", "plan"),
    [
        ({}, Plan(0.0, None, 8.0)),
        ({"SPREAD": None}, Plan(0.0, None, 8.0)),
        ({"NOTICE": 5, "SPREAD": 20, "DEADLINE": 30}, Plan(5, 20, 30)),
        ({"NOTICE": 2.5}, Plan(2.5, None, 8.0)),
        ({"DEADLINE": 0}, Plan(0.0, None, 0)),
        ({"NOTICE": 3, "SPREAD": 5}, Plan(3, 5, 8.0)),  # all of the deadline
        (None, None),
    ],
)
def test_a_plan_is_what_the_setting_says(settings, setting, plan):
    settings.CHANNELS_DRAIN = setting
    assert Plan.from_settings() == plan


def test_without_the_setting_there_is_a_plan(settings):
    assert not hasattr(settings, "CHANNELS_DRAIN")
    assert Plan.from_settings() == Plan()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (8, "must be None, or a dict .* it is 8"),
        ("8", "must be None, or a dict"),
        (False, "must be None, or a dict"),
        ([], "must be None, or a dict"),
        ({"NOTICE": 1, "TIMEOUT": 3}, "must be None, or a dict .*TIMEOUT"),
        ({"notice": 1}, "must be None, or a dict"),
        ({"NOTICE": -1}, r"CHANNELS_DRAIN\['NOTICE'\] must be a number of seconds, not -1"),
        ({"NOTICE": None}, r"\['NOTICE'\].* not None"),
        ({"DEADLINE": None}, r"\['DEADLINE'\].* not None"),
        ({"DEADLINE": "8"}, r"\['DEADLINE'\].* not '8'"),
        ({"DEADLINE": math.inf}, r"\['DEADLINE'\].* not inf"),
        ({"SPREAD": math.nan}, r"\['SPREAD'\].* not nan"),
        ({"SPREAD": True}, r"\['SPREAD'\].* not True"),
        ({"NOTICE": 5, "SPREAD": 4}, "NOTICE and SPREAD together .* DEADLINE, which is 8 s"),
        ({"NOTICE": 9}, "NOTICE and SPREAD together"),
        ({"DEADLINE": 3, "SPREAD": 3.5}, "NOTICE and SPREAD together .* 3 s"),
    ],
)
def test_a_setting_that_is_no_plan(settings, setting, message):
    settings.CHANNELS_DRAIN = setting
    with pytest.raises(ImproperlyConfigured, match=message):
        Plan.from_settings()


SECONDS = st.floats(0, 1e6)
COUNTS = st.integers(0, 10**7)


@given(SECONDS, SECONDS, COUNTS, st.integers(0, 10**6))
def test_connections_are_closed_well_before_the_deadline(notice, rest, count, more):
    plan = Plan(notice=notice, deadline=notice + rest)
    duration = plan.duration(count)
    room = plan.deadline - plan.notice
    assert 0 <= duration <= room / 2  # as much is left for what clients and handlers have to do
    assert duration in (room / 2, pytest.approx(count / 100))
    assert plan.duration(count + more) >= duration


@given(SECONDS, st.floats(0, 10), COUNTS)
def test_a_spread_that_was_asked_for_is_taken(spread, notice, count):
    assert Plan(notice, spread, notice + spread).duration(count) == spread


def test_no_connections_take_no_time():
    assert Plan().duration(0) == 0
    assert Plan(deadline=0).duration(100) == 0


# Spread over time


class Connection:
    """Notes when it was told to end, and ends at once."""

    def __init__(self, here):
        self.here, self.drained_at = here, None
        here.add(self)

    def drain(self):
        assert self.drained_at is None
        self.drained_at = asyncio.get_running_loop().time()
        self.here.discard(self)


@pytest.mark.parametrize("count", [3, 40, 400])
async def test_the_closes_are_spread_over_time(count):
    here = Connections()
    everybody = [Connection(here) for _ in range(count)]
    began = asyncio.get_running_loop().time()
    assert await drain(here, Plan(spread=0.6, deadline=30))
    times = [one.drained_at - began for one in everybody]
    # The first at once, the last near the end; in every part of the time some, but not too many.
    assert max(times) - min(times) > 0.3
    if count > 3:
        half = sum(time < 0.3 for time in times)
        assert 0 < half <= count * 0.75
        assert len({round(time, 2) for time in times}) >= 5
    # Those that came first are not the first to go.
    if count == 400:
        assert times != sorted(times)
        assert sum(a < b for a, b in itertools.pairwise(times)) < count * 0.75


async def test_without_a_spread_few_connections_are_closed_at_once():
    here = Connections()
    for _ in range(5):
        Connection(here)
    began = asyncio.get_running_loop().time()
    assert await drain(here, Plan())
    assert asyncio.get_running_loop().time() - began < 2


async def test_connections_that_ended_meanwhile_are_not_drained():
    here = Connections()
    everybody = [Connection(here) for _ in range(10)]
    draining_task = asyncio.create_task(drain(here, Plan(spread=1, deadline=30)))
    await until(lambda: here.refusing)
    left = [one for one in everybody if one.drained_at is None][:5]
    for one in left:
        here.discard(one)
    assert await draining_task
    assert [one.drained_at for one in left] == [None] * 5
    assert sum(one.drained_at is None for one in everybody) == 5


async def test_draining_without_connections_ends_at_once(caplog, heard):
    here = Connections()
    with caplog.at_level(logging.INFO, "channels.draining"):
        assert await drain(here, Plan(spread=20, deadline=30)) is True
    assert caplog.records == []
    assert here.refusing
    assert [call["connections"] for call in heard["server_draining"]] == [0]


# Sockets


async def test_every_socket_is_closed_with_1012_and_every_disconnect_runs(
    echo, layer, caplog, heard
):
    servers = await connect(echo, 50)
    here, plan = connections.get(), Plan(spread=0.2, deadline=30)
    with caplog.at_level(logging.INFO, "channels.draining"):
        assert await drain(here, plan)
    for server in servers:
        await server.ended()
        assert server.sent[-1] == {"type": "websocket.close", "code": 1012}
    assert [one.codes for one in echo.made] == [[1012]] * 50
    assert here.open == set()
    assert layer.groups == {}
    [call] = heard["server_draining"]
    assert (call["sender"], call["connections"], call["plan"]) == (drain, 50, plan)
    assert [call["code"] for call in heard["connection_closed"]] == [1012] * 50
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "Closing connections: 50 within 0.2 s"
    assert lines[1].startswith("All connections have ended, in ")
    assert len(lines) == 2


async def test_during_the_notice_all_is_as_before_but_readiness(echo, heard):
    servers = await connect(echo, 3)
    here = connections.get()
    draining_task = asyncio.create_task(drain(here, Plan(notice=1, deadline=30)))
    await until(lambda: heard["server_draining"])
    assert is_draining()
    assert not here.refusing
    for server in [*servers, *await connect(echo, 1)]:
        server.text("still here")
        await until(server.texts)
    assert not draining_task.done()
    assert [server.types()[-1] for server in servers] == ["websocket.send"] * 3
    await draining_task
    assert [one.codes for one in echo.made] == [[1012]] * 4  # those that came meanwhile too


async def test_afterwards_sockets_are_refused(echo, caplog, heard):
    await drain(connections.get(), Plan())
    with caplog.at_level(logging.INFO):
        server = Server(echo.as_asgi(), path="/ws/late/", **DENIAL)
        server.put("websocket.connect")
        await server.start().ended()
    assert server.types() == ["websocket.http.response.start", "websocket.http.response.body"]
    assert server.sent[0]["status"] == 503
    assert echo.made == []
    [record] = caplog.records
    assert (record.name, record.levelno) == ("channels.handshake", logging.INFO)
    assert record.getMessage() == (
        "Refused websocket /ws/late/: this process is about to end [503]"
    )
    [call] = heard["connection_refused"]
    assert (call["sender"], call["status"]) == (echo, 503)
    assert call["scope"] is server.scope
    assert heard["connection_closed"] == []
    assert connections.get().open == set()

    plain = Server(echo.as_asgi())
    plain.put("websocket.connect")
    await plain.start().ended()
    assert plain.types() == ["websocket.close"]


async def test_afterwards_requests_are_answered():
    """There is nobody else to answer them, for who sent them to this process."""

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, b"x")

    await drain(connections.get(), Plan())
    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"")
    await server.start().ended()
    assert server.sent[0]["status"] == 200


async def test_a_test_is_served_also_when_the_process_is_about_to_end(echo):
    """Refusing is for clients of a server."""
    connections.get().refusing = True
    server = Server(echo.as_asgi())
    del server.scope["asgi"]
    await server.connect()
    assert server.types() == ["websocket.accept"]
    await server.leave()


# The deadline


async def test_a_handler_that_never_ends_is_not_waited_for(echo, caplog):
    class Endless(echo):
        disconnect_grace = DEADLINE

        async def receive(self, text_data=None, bytes_data=None):
            self.entered = True
            await asyncio.Event().wait()

    [idle] = await connect(echo, 1)
    [busy] = await connect(Endless, 1)
    busy.text("x")
    await until(lambda: getattr(echo.made[1], "entered", False))
    began = asyncio.get_running_loop().time()
    assert not await drain(connections.get(), Plan(deadline=0.3))
    assert 0.3 <= asyncio.get_running_loop().time() - began < DEADLINE
    assert busy.sent[-1] == {"type": "websocket.close", "code": 1012}  # its client knows
    assert [one.codes for one in echo.made] == [[1012], []]
    [record] = caplog.records
    assert record.getMessage() == (
        "Still connected 0.3 s after the process was told to end: 1, which the server ends now; "
        f"{Endless.__qualname__} at /ws/"
    )
    assert idle.task.done()
    busy.task.cancel()  # as the server does
    with pytest.raises(asyncio.CancelledError):
        await busy.task
    assert [one.codes for one in echo.made] == [[1012], [1012]]


async def test_a_sync_handler_that_blocks_is_not_waited_for(caplog):
    entered, release_it, codes = threading.Event(), threading.Event(), []

    class Blocking(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            entered.set()
            release_it.wait(30)

        def disconnect(self, code):
            codes.append(code)

    [server] = await connect(Blocking, 1)
    try:
        server.text("x")
        await until(entered.is_set)
        began = asyncio.get_running_loop().time()
        assert not await drain(connections.get(), Plan(deadline=0.3))
        assert asyncio.get_running_loop().time() - began < DEADLINE
        assert server.sent[-1] == {"type": "websocket.close", "code": 1012}
        assert codes == []
        assert "process was told to end: 1, which the server ends now" in caplog.text
    finally:
        release_it.set()
    await server.ended()
    assert codes == [1012]


async def test_a_client_that_does_not_take_the_close_is_not_waited_for(echo):
    [server] = await connect(echo, 1)
    server.on_send = lambda message: asyncio.Event().wait()
    assert not await drain(connections.get(), Plan(deadline=0.2))
    await until(lambda: not connections.get().pending_sends)  # what tried to has ended
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert echo.made[0].codes == [1012]
    assert connections.get().open == set()


async def test_a_close_that_fails_does_not_hold_up_draining(echo):
    servers, failed = await connect(echo, 3), asyncio.Event()

    async def fail(message):
        failed.set()
        raise RuntimeError("no")

    servers[1].on_send = fail
    draining_task = asyncio.create_task(drain(connections.get(), Plan(deadline=30)))
    await servers[0].ended()
    await servers[2].ended()
    await failed.wait()
    servers[1].put("websocket.disconnect", code=1006)
    assert await draining_task
    assert sorted(code for one in echo.made for code in one.codes) == [1012, 1012, 1012]


# Being told to


@pytest.fixture
def sigterm():
    """A handler of SIGTERM, as a server's, that notes its calls."""
    calls = []

    def handler(number, frame):
        calls.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    calls_and_handler = calls, handler
    yield calls_and_handler
    assert signal.getsignal(signal.SIGTERM) is handler
    signal.signal(signal.SIGTERM, before)


async def test_the_first_connection_prepares_the_process(echo, sigterm):
    calls, handler = sigterm
    servers = await connect(echo, 2)
    termination = connections.get().termination
    assert signal.getsignal(signal.SIGTERM) != handler
    assert termination is not None
    signal.raise_signal(signal.SIGTERM)
    for server in servers:
        await server.ended()
    await until(lambda: calls)
    assert calls == [signal.SIGTERM]
    assert [one.codes for one in echo.made] == [[1012], [1012]]
    assert connections.get().termination is termination


async def test_without_draining_signals_are_left_alone(echo, sigterm, settings):
    settings.CHANNELS_DRAIN = None
    [server] = await connect(echo, 1)
    assert signal.getsignal(signal.SIGTERM) is sigterm[1]
    await server.leave()


async def test_a_wrong_setting_is_logged_once_and_harms_no_connection(
    echo, sigterm, settings, caplog
):
    settings.CHANNELS_DRAIN = {"NOTICE": -1}
    for server in await connect(echo, 3):
        await server.leave()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("channels.draining", logging.ERROR)
    assert record.getMessage().startswith("Connections will not be drained: CHANNELS_DRAIN['NOT")


async def test_release_leaves_signals_as_they_were_found(echo, sigterm):
    calls, _ = sigterm
    [server] = await connect(echo, 1)
    release()
    assert signal.getsignal(signal.SIGTERM) is sigterm[1]
    signal.raise_signal(signal.SIGTERM)
    assert calls == [signal.SIGTERM]
    assert not is_draining()
    release()
    await server.leave()


async def test_what_was_released_is_not_prepared_again(sigterm):
    """As when a server stops before it has settled."""
    release()
    prepare(connections.get())
    assert signal.getsignal(signal.SIGTERM) is sigterm[1]


async def test_draining_that_fails_lets_the_server_end_it(echo, sigterm, monkeypatch, caplog):
    calls, _ = sigterm
    [server] = await connect(echo, 1)

    async def fail(here, plan):
        raise RuntimeError("boom")

    monkeypatch.setattr(draining, "drain", fail)
    signal.raise_signal(signal.SIGTERM)
    await until(lambda: calls)
    assert "Draining failed" in caplog.text
    await server.leave()


def test_a_loop_that_was_closed_is_not_draining():
    async def drain_it():
        await drain(connections.get(), Plan())
        assert is_draining()

    asyncio.run(drain_it())
    assert not is_draining()
