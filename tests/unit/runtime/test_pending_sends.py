"""Clients that do not read: what their consumers notice, and how they are found."""

import asyncio
import contextlib
import logging
import math
from types import SimpleNamespace

import pytest

from channels import signals
from channels._runtime import connections as module
from channels._runtime.connections import connections
from channels._runtime.pending_sends import PendingSend, PendingSends
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from tests.asgi import DEADLINE, Server, until
from tests.unit.runtime.servers.standins import Transport, from_module

TIMEOUT = 0.05


pytestmark = pytest.mark.usefixtures("layer")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(module, "_LOOK", 0.005)


@pytest.fixture
def stalled():
    """The arguments of every signal ``client_stalled``."""
    heard = []

    def listen(signal, sender, **arguments):
        heard.append({"sender": sender, **arguments})

    signals.client_stalled.connect(listen)
    yield heard
    signals.client_stalled.disconnect(listen)


class Client:
    """Makes a server's client stop reading: what is sent to it is not taken."""

    def __init__(self, server):
        self.blocked, self.reads = 0, asyncio.Event()
        server.on_send = self.take

    async def take(self, message):
        if message["type"] == "websocket.send":
            self.blocked += 1
            await self.reads.wait()


class Pouring(AsyncWebsocketConsumer):
    send_timeout = TIMEOUT
    disconnect_grace = DEADLINE
    groups = ("room",)

    async def connect(self):
        self.log = []
        self.made.append(self)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)
        self.log.append(("sent", asyncio.current_task().cancelling()))
        await asyncio.sleep(0)  # would raise, were the cancellation still pending
        self.log.append("went on")

    async def note(self, event):
        await self.send(event["text"])

    async def disconnect(self, code):
        self.log.append(("disconnect", code))


@pytest.fixture
def consumer_class():
    class Consumer(Pouring):
        made = []

    return Consumer


# A consumer whose client does not read


async def test_a_client_that_reads_nothing_is_disconnected(consumer_class, stalled, caplog):
    server = await Server(consumer_class.as_asgi()).connect()
    Client(server)
    [consumer] = consumer_class.made
    server.text("x")
    await server.ended()
    assert consumer.log == [("sent", 0), "went on", ("disconnect", 1013)]
    assert server.types() == ["websocket.accept"]  # no close could reach it

    [heard] = stalled
    assert heard["sender"] is consumer_class
    assert heard["consumer"] is consumer
    assert heard["scope"] is consumer.scope
    assert TIMEOUT <= heard["seconds"] < DEADLINE
    [record] = caplog.records
    assert (record.name, record.levelno) == ("channels.consumer", logging.WARNING)
    assert f"{consumer_class.__qualname__} at /ws/: the client has not read" in record.getMessage()
    assert "send_timeout" in record.getMessage()


async def test_a_message_that_the_client_did_not_read_is_dropped_and_signalled(consumer_class):
    dropped = []

    def listen(signal, sender, message_type, **arguments):
        dropped.append(message_type)

    signals.send_dropped.connect(listen)
    try:
        server = await Server(consumer_class.as_asgi()).connect()
        Client(server)
        server.text("x")
        await server.ended()
    finally:
        signals.send_dropped.disconnect(listen)
    assert dropped == ["websocket.send"]


async def test_slow_sends_within_the_timeout_are_not_given_up(consumer_class, stalled):
    consumer_class.send_timeout = DEADLINE
    server = await Server(consumer_class.as_asgi()).connect()
    client = Client(server)
    server.text("slow")
    await until(lambda: client.blocked)
    pending = connections.get().pending_sends
    await until(lambda: any(one.waited(math.inf) for one in pending.values()))  # it has been seen
    client.reads.set()
    await until(lambda: server.texts() == ["slow"])
    for n in range(20):
        server.text(str(n))
    await until(lambda: len(server.texts()) == 21)
    await server.leave()
    assert stalled == []
    assert consumer_class.made[0].log[-1] == ("disconnect", 1001)
    assert not pending


async def test_without_a_timeout_it_is_waited_for_as_long_as_it_takes(consumer_class, stalled):
    consumer_class.send_timeout = None
    server = await Server(consumer_class.as_asgi()).connect()
    client = Client(server)
    server.text("x")
    await until(lambda: client.blocked)
    pending, now = connections.get().pending_sends, asyncio.get_running_loop().time()
    pending.look(now)
    pending.look(now + 10**6)
    assert stalled == []
    client.reads.set()
    await until(lambda: server.texts() == ["x"])
    await server.leave()


async def test_two_tasks_of_one_connection_that_send_at_once(consumer_class, stalled, caplog):
    class Consumer(consumer_class):
        async def receive(self, text_data=None, bytes_data=None):
            async def send(text):
                await self.send(text)
                self.log.append((text, asyncio.current_task().cancelling()))

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send("a"))
                tasks.create_task(send("b"))
            self.log.append("went on")

    server = await Server(Consumer.as_asgi()).connect()
    client = Client(server)
    server.text("x")
    await until(lambda: client.blocked == 2)
    await server.ended()
    [consumer] = Consumer.made
    assert sorted(consumer.log[:2]) == [("a", 0), ("b", 0)]
    assert consumer.log[2:] == ["went on", ("disconnect", 1013)]
    assert len(stalled) == 1
    assert len(caplog.records) == 1


async def test_a_cancellation_from_outside_at_the_same_time_wins(consumer_class, monkeypatch):
    consumer_class.made = []
    server = await Server(consumer_class.as_asgi()).connect()
    client = Client(server)
    server.text("x")
    await until(lambda: client.blocked)
    [pending] = connections.get().pending_sends.values()
    outlet, task = pending.sender, pending.task
    give_up = type(outlet).give_up

    def and_cancel(*arguments):  # as when the event loop ends
        give_up(*arguments)
        task.cancel()
        server.task.cancel()

    monkeypatch.setattr(type(outlet), "give_up", and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await server.ended()
    assert server.task.cancelled()
    [consumer] = consumer_class.made
    assert consumer.log == [("disconnect", 1013)]


async def test_a_timeout_of_the_handlers_own_at_the_same_time_leaves_no_cancellation(
    consumer_class,
):
    class Consumer(consumer_class):
        async def receive(self, text_data=None, bytes_data=None):
            try:
                async with asyncio.timeout(None) as self.patience:
                    await self.send(text_data)
            except TimeoutError:
                self.log.append(("timeout", asyncio.current_task().cancelling()))

    server = await Server(Consumer.as_asgi()).connect()
    client = Client(server)
    server.text("x")
    await until(lambda: client.blocked)
    [consumer] = Consumer.made
    [(sending, pending)] = connections.get().pending_sends.items()
    outlet, task = pending.sender, pending.task
    outlet.give_up(sending, task, 1.0)
    consumer.patience.reschedule(0)  # fires before the task goes on
    await server.ended()
    assert consumer.log[-1] == ("disconnect", 1013)
    assert consumer.log[:-1] in ([], [("timeout", 0)])


@pytest.mark.parametrize("error", [RuntimeError, ConnectionResetError])
async def test_a_server_may_answer_the_cancellation_with_an_error(consumer_class, error, caplog):
    """Its own, as some do when the connection is broken meanwhile; the task is left as it was."""
    server = await Server(consumer_class.as_asgi()).connect()

    async def take(message):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    server.on_send = take
    server.text("x")
    await server.ended()
    assert server.task.cancelling() == 0
    assert consumer_class.made[0].log[-1][0] == "disconnect"


async def test_a_sync_handler_goes_on(stalled):
    log = []

    class Consumer(WebsocketConsumer):
        send_timeout = TIMEOUT

        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data)
            log.append("went on")

        def disconnect(self, code):
            log.append(code)

    server = await Server(Consumer.as_asgi()).connect()
    Client(server)
    server.text("x")
    await server.ended()
    assert log == ["went on", 1013]
    assert len(stalled) == 1


async def test_the_others_in_the_group_get_their_messages_meanwhile(consumer_class, layer, stalled):
    servers = [await Server(consumer_class.as_asgi()).connect() for _ in range(3)]
    client = Client(servers[1])
    for n in range(50):
        await layer.group_send("room", {"type": "note", "text": str(n)})
        await asyncio.sleep(0)
    expected = [str(n) for n in range(50)]
    await until(lambda: servers[0].texts() == servers[2].texts() == expected)
    await servers[1].ended()
    assert client.blocked == 1
    assert servers[1].texts() == []
    assert len(stalled) == 1
    for server in (servers[0], servers[2]):
        await server.leave()
    codes = [consumer.log[-1][1] for consumer in consumer_class.made]
    assert codes == [1001, 1013, 1001]
    assert layer.groups == {}


async def test_its_disconnect_event_comes_too_and_is_handled_once(consumer_class):
    server = await Server(consumer_class.as_asgi()).connect()
    client = Client(server)
    server.text("x")
    await until(lambda: client.blocked)
    server.put("websocket.disconnect", code=1006)  # unread: the reader has it, the handler waits
    await server.ended()
    codes = [entry[1] for entry in consumer_class.made[0].log if entry[0] == "disconnect"]
    assert codes in ([1013], [1006])  # whichever came first


@from_module("uvicorn.protocols.websockets.some_impl")
class Uvicorn(Server):
    """The server's side as uvicorn's objects have it, with a transport behind its ``send``."""

    def __init__(self, application):
        super().__init__(application)
        self.transport = Transport()


async def test_the_transport_is_aborted(consumer_class):
    server = await Uvicorn(consumer_class.as_asgi()).connect()
    Client(server)
    server.text("x")
    await server.ended()
    assert server.transport.aborted == 1


async def test_another_clients_transport_is_not_aborted(consumer_class):
    """Whose ``send`` a middleware closes over."""
    consumer = consumer_class.as_asgi()
    neighbour = await Uvicorn(consumer).connect()
    another_send = neighbour.send

    async def with_middleware(scope, receive, send):
        async def wrapped(message):
            await (send if message["type"] else another_send)(message)

        await consumer(scope, receive, wrapped)

    server = await Uvicorn(with_middleware).connect()
    Client(server)
    server.text("x")
    await server.ended()
    assert (server.transport.aborted, neighbour.transport.aborted) == (1, 0)
    await neighbour.leave()


async def test_a_transport_that_cannot_be_aborted_does_not_keep_the_consumer(
    consumer_class, caplog
):
    def fail():
        raise RuntimeError("not now")

    bad = await Uvicorn(consumer_class.as_asgi()).connect()
    bad.transport.abort = fail
    good = await Server(consumer_class.as_asgi()).connect()
    for server in (bad, good):
        Client(server)
        server.text("x")
    for server in (bad, good):
        await server.ended()
    assert [consumer.log[-1] for consumer in consumer_class.made] == [("disconnect", 1013)] * 2
    [record] = [record for record in caplog.records if record.exc_info]
    assert str(record.exc_info[1]) == "not now"


async def test_a_timeout_that_is_no_number_does_not_protect_other_clients(consumer_class, caplog):
    class Broken(consumer_class):
        send_timeout = "soon"

    bad = await Server(Broken.as_asgi()).connect()
    good = await Server(consumer_class.as_asgi()).connect()
    for server in (bad, good):
        client = Client(server)
        server.text("x")
    await good.ended()
    assert consumer_class.made[1].log[-1] == ("disconnect", 1013)
    assert connections.get().timer is not None
    assert any(record.exc_info for record in caplog.records)
    assert client.blocked
    bad.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await bad.ended()


async def test_send_timeout_can_be_changed_while_a_send_waits(consumer_class, stalled):
    """It is looked up when it is needed."""
    assert AsyncConsumer.send_timeout == 20.0
    consumer_class.send_timeout = None
    server = await Server(consumer_class.as_asgi()).connect()
    client = Client(server)
    server.text("x")
    await until(lambda: client.blocked)
    consumer_class.made[0].send_timeout = 0
    await server.ended()
    assert len(stalled) == 1


# The parts


class Sender:
    def __init__(self, send_timeout):
        self.send_timeout = send_timeout
        self.gave_up = []
        self.taken_so_far = None
        self.consumer = object()

    def taken(self):
        return self.taken_so_far

    def give_up(self, sending, task, seconds, hint=None):
        self.gave_up.append((sending, task, seconds))


async def test_a_send_is_timed_from_the_first_look_at_it():
    pending, patient, forever = PendingSends(), Sender(2.0), Sender(None)
    first, second, third = (asyncio.get_running_loop().create_future() for _ in range(3))
    pending[first] = PendingSend(patient, None)
    pending[second] = PendingSend(forever, None)
    pending.look(100.0)
    pending[third] = PendingSend(patient, None)
    pending.look(101.0)
    assert patient.gave_up == []
    pending.look(102.0)
    assert patient.gave_up == [(first, None, 2.0)]
    del pending[first]
    pending.look(103.0)
    assert patient.gave_up[1:] == [(third, None, 2.0)]
    assert forever.gave_up == []
    pending.clear()
    pending.look(104.0)
    assert not pending


async def test_a_client_that_reads_slowly_is_waited_for():
    pending, slow, stuck = PendingSends(), Sender(2.0), Sender(2.0)
    for sender in (slow, stuck):
        pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
    for second in range(10):
        slow.taken_so_far, stuck.taken_so_far = second, 1000
        pending.look(float(second))
    assert slow.gave_up == []
    assert stuck.gave_up[0][2] == 2.0
    slow.taken_so_far = 9
    for second in (10.0, 11.0):
        pending.look(second)
    assert slow.gave_up[0][2] == 2.0


@pytest.mark.parametrize(
    "figures",
    [
        [None, None, None],  # nothing is ever known
        [None, 5, 5, 5],  # known late: the client may have read until then
        [5, None, 5],  # a figure that was missing is no progress
        [5, None, 6, 6, 6],  # nor does that hide progress
    ],
)
async def test_a_figure_may_be_unknown_at_a_look(figures):
    """The client is given up with the last look, and not before."""
    pending, sender = PendingSends(), Sender(2.0)
    pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
    for second, figure in enumerate(figures):
        assert sender.gave_up == []
        sender.taken_so_far = figure
        pending.look(float(second))
    assert sender.gave_up[0][2] == 2.0


async def test_each_send_is_timed_by_itself():
    pending, sender = PendingSends(), Sender(2.0)
    for second in range(10):
        pending.clear()
        pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
        pending.look(float(second))
        pending.look(second + 0.9)
    assert sender.gave_up == []


async def test_the_client_that_has_read_nothing_for_longest_is_chosen():
    pending, first, second, other = PendingSends(), Sender(99.0), Sender(99.0), Sender(99.0)
    now = asyncio.get_running_loop().time()
    for moment, sender in enumerate((other, first, second)):
        pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
        pending.look(now - 10 + moment)
    some = {id(first.consumer), id(second.consumer)}
    pending.disconnect_slowest(some)
    assert [len(sender.gave_up) for sender in (other, first, second)] == [0, 1, 0]
    assert 9 <= first.gave_up[0][2] < 60
    pending.disconnect_slowest({id(pending)})  # nobody
    assert [len(sender.gave_up) for sender in (other, first, second)] == [0, 1, 0]


async def test_one_that_raises_does_not_keep_the_others_from_being_looked_at(caplog):
    class Broken(Sender):
        def give_up(self, sending, task, seconds):
            raise RuntimeError("boom")

    pending, good = PendingSends(), Sender(0)
    for sender in (Broken(0), good, Broken("0")):
        pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
    pending.look(1.0)
    assert len(good.gave_up) == 1
    assert [type(record.exc_info[1]) for record in caplog.records] == [RuntimeError, TypeError]
    assert len(pending) == 3


async def test_a_process_that_ends_disconnects_its_websockets_whatever_one_of_them_raises(caplog):
    class Broken(Sender):
        def give_up(self, sending, task, seconds, hint):
            raise RuntimeError("boom")

    pending = PendingSends()
    broken, request, socket = Broken(None), Sender(None), Sender(None)
    for sender, kind in ((broken, "websocket"), (request, "http"), (socket, "websocket")):
        sender.consumer = SimpleNamespace(scope={"type": kind})
        pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
    pending.disconnect_websockets()
    assert [len(sender.gave_up) for sender in (request, socket)] == [0, 1]
    assert [str(record.exc_info[1]) for record in caplog.records] == ["boom"]


async def test_disconnecting_one_client_may_end_other_sends():
    """As breaking a connection does, when several wait for it."""
    pending = PendingSends()

    class Clearing(Sender):
        def give_up(self, sending, task, seconds):
            super().give_up(sending, task, seconds)
            pending.clear()

    sender = Clearing(0)
    for _ in range(3):
        pending[asyncio.get_running_loop().create_future()] = PendingSend(sender, None)
    pending.look(1.0)
    assert sender.gave_up
