"""What is said to Daphne's socket, and when. The real one is in tests/conformance/servers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels._runtime.servers.daphne import Daphne, _as_dict
from tests.asgi import until
from tests.unit.runtime.servers import standins

TEXT = {"type": "websocket.send", "text": "x"}


@pytest.fixture
def client():
    return standins.Daphne()


@pytest.fixture
def protocol(client):
    return client.protocol


@pytest.fixture
def socket(client):
    return begun(client)


def begun(client):
    server = Daphne.of(client.protocol, client.scope, client.send, client.receive)
    assert server.begin()
    return server


# Which connections


def test_a_websocket_gets_a_producer(client):
    server = begun(client)
    assert client.transport.producer is server
    assert not server.close_waits_for_receive


START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"x", "more_body": True}
END = {"type": "http.response.body", "body": b"x"}


@pytest.fixture
def request_of_daphne():
    return standins.Daphne(type="http", http_version="1.1")


async def test_a_response_has_a_producer_from_its_beginning_to_its_end(request_of_daphne):
    client = request_of_daphne
    server = begun(client)
    assert client.protocol.producer is None
    assert client.transport.producer == "the HTTP channel"
    await server.send(START)
    assert client.protocol.producer is server
    await server.send(PART)
    server.pauseProducing()
    sending = asyncio.create_task(server.send(END))
    await asyncio.sleep(0)
    assert client.protocol.sent == [START, PART], "there is no room"
    server.resumeProducing()
    await sending
    assert client.protocol.sent == [START, PART, END]
    assert client.protocol.producer is None


async def test_a_response_whose_client_has_left_gets_no_producer(request_of_daphne):
    server = begun(request_of_daphne)
    request_of_daphne.protocol.channel = None
    await server.send(START)
    assert request_of_daphne.protocol.producer is None


async def test_a_response_without_an_end_ends_the_connection(request_of_daphne):
    server = begun(request_of_daphne)
    await server.send(START)
    assert server.break_off()
    assert request_of_daphne.protocol.channel.lost
    assert request_of_daphne.protocol.producer is None


def test_what_cannot_be_broken_off(client, request_of_daphne):
    assert not begun(client).break_off(), "a WebSocket"
    assert not begun(standins.Daphne(type="http", http_version="2")).break_off(), "it is shared"
    server = begun(request_of_daphne)
    request_of_daphne.protocol.channel = None
    assert not server.break_off(), "the client has gone"


def test_a_request_is_not_held_but_can_be_aborted(request_of_daphne):
    server = begun(request_of_daphne)
    server.hold(True)
    assert request_of_daphne.transport.log == []
    assert server.abort()
    assert request_of_daphne.transport.aborted == 1


def test_a_connection_that_requests_share_is_not_aborted():
    client = standins.Daphne(type="http", http_version="2")
    server = Daphne.of(client.protocol, client.scope, client.send, client.receive)
    assert not server.abort()
    assert server.taken() is None
    assert client.transport.aborted == 0


def test_the_object_of_another_client_is_none_of_this_connections(client):
    other = standins.Daphne()
    assert Daphne.of(other.protocol, client.scope, client.send, client.receive) is None
    assert other.transport.producer == "the HTTP channel"


@pytest.mark.parametrize("missing", ["state", "STATE_OPEN", "sendMessage", "sendCloseFrame"])
def test_a_websocket_that_lacks_something_is_not_as_expected(client, missing):
    kind = type(client.protocol)
    attributes = {name: value for name, value in vars(kind).items() if name != missing}
    attributes.pop("__dict__", None)
    attributes.pop("__weakref__", None)
    client.protocol.__class__ = type("Other", kind.__bases__, attributes)
    with pytest.raises(AttributeError, match=missing):
        Daphne.of(client.protocol, client.scope, client.send, client.receive)


def test_a_websocket_is_aborted_at_its_transport(socket, client):
    assert socket.abort()
    assert client.transport.aborted == 1


def test_progress_is_asked_of_the_innermost_transports_socket(socket, client, monkeypatch):
    class Layer:
        pass

    client.transport.transport, handle = Layer(), object()
    client.transport.transport.transport = Layer()
    for name in ("acknowledged", "unsent"):
        monkeypatch.setattr(f"channels._runtime.servers.daphne.{name}", lambda it: it)
    assert socket.taken() is socket.unsent() is None
    client.transport.transport.transport.socket = handle
    assert socket.taken() is socket.unsent() is handle


# What is said


@pytest.mark.parametrize(
    "message",
    [
        TEXT,
        {"type": "websocket.send", "bytes": b"x"},
        {"type": "websocket.accept"},
        {"type": "websocket.accept", "subprotocol": "chat", "headers": []},
        {"type": "websocket.http.response.start", "status": 401},
    ],
)
async def test_most_messages_go_as_they_are(socket, protocol, message):
    await socket.send(message)
    assert protocol.sent == [message]


@pytest.mark.parametrize(
    ("message", "is_binary"),
    [
        ({"text": ""}, False),
        ({"bytes": b""}, True),
        ({"text": "", "bytes": None}, False),
        ({"text": None, "bytes": b""}, True),
    ],
)
async def test_empty_messages_are_messages(socket, protocol, message, is_binary):
    await socket.send({"type": "websocket.send", **message})
    assert protocol.sent == [(b"", is_binary)]


@pytest.mark.parametrize("state", ["STATE_CLOSING", "STATE_CLOSED", "STATE_CONNECTING"])
async def test_empty_messages_are_for_open_sockets(socket, protocol, state):
    protocol.state = getattr(protocol, state)
    await socket.send({"type": "websocket.send", "text": ""})
    assert protocol.sent == []


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({}, (1000, None)),
        ({"code": None, "reason": None}, (1000, None)),
        ({"code": 1012}, (1012, None)),
        ({"code": 1011, "reason": ""}, (1011, None)),
        ({"code": 4000, "reason": "so"}, (4000, b"so")),
        ({"code": 4000, "reason": "x" * 124}, (4000, b"x" * 123)),
        ({"code": 4000, "reason": "ä" * 62}, (4000, "ä".encode() * 61)),
        ({"code": 4000, "reason": "x" + "ä" * 61}, (4000, b"x" + "ä".encode() * 61)),
        ({"code": 4000, "reason": "\U0001f600" * 31}, (4000, "\U0001f600".encode() * 30)),
    ],
)
async def test_every_code_and_reason_can_be_closed_with(socket, protocol, message, sent):
    await socket.send({"type": "websocket.close", **message})
    assert protocol.sent == [sent]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_reasons_are_cut_between_characters(reason):
    client = standins.Daphne()
    socket = begun(client)
    asyncio.run(socket.send({"type": "websocket.close", "code": 4000, "reason": reason}))
    [(_, sent)] = client.protocol.sent
    sent = sent or b""
    assert len(sent) <= 123
    assert reason.startswith(sent.decode())
    rest = reason[len(sent.decode()) :]
    assert not rest or len(sent) + len(rest[0].encode()) > 123


@pytest.mark.parametrize("state", ["STATE_CLOSING", "STATE_CLOSED", "STATE_CONNECTING"])
async def test_other_sockets_are_closed_as_daphne_does(socket, protocol, state):
    protocol.state = getattr(protocol, state)
    message = {"type": "websocket.close", "code": 4000}
    await socket.send(message)
    assert protocol.sent == [message]


async def test_headers_go_with_the_subprotocol(socket, protocol):
    headers = [(b"x-one", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=\xe4")]
    await socket.send({"type": "websocket.accept", "subprotocol": "chat", "headers": headers})
    sent = {"x-one": ["1"], "set-cookie": ["a=1", "b=ä"]}
    assert protocol.sent == [{"type": "websocket.accept", "subprotocol": ("chat", sent)}]
    protocol.sent.clear()
    await socket.send({"type": "websocket.accept", "headers": iter(headers[:1])})
    accepted = protocol.sent[0]["subprotocol"]
    assert accepted == (None, {"x-one": ["1"]})


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"C"]), st.binary(max_size=3))))
def test_no_header_is_lost(headers):
    found = [(name, value) for name, values in _as_dict(headers).items() for value in values]
    sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found]
    assert sorted(sent) == sorted(headers)
    for name in {name for name, _ in headers}:  # in order
        assert [v for n, v in sent if n == name] == [v for n, v in headers if n == name]


class Disconnected(RuntimeError):
    """As autobahn's."""


async def test_what_is_sent_after_the_disconnect_fails_as_asgi_says(socket, protocol):
    def fail(message):
        raise error

    protocol.handle_reply, error = fail, Disconnected("not connected")
    with pytest.raises(OSError, match="client has gone"):
        await socket.send(TEXT)
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        await socket.send(TEXT)


# When


async def test_send_waits_while_the_transport_has_no_room(socket, protocol):
    socket.pauseProducing()
    socket.pauseProducing()
    sending = [asyncio.create_task(socket.send({**TEXT, "text": str(n)})) for n in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert protocol.sent == []
    socket.resumeProducing()
    await asyncio.gather(*sending)
    assert [message["text"] for message in protocol.sent] == ["0", "1", "2"]
    await socket.send(TEXT)


async def test_a_second_send_waits_again_when_the_first_has_taken_the_room(socket, protocol):
    def take_room(message):
        protocol.sent.append(message)
        socket.pauseProducing()

    protocol.handle_reply = take_room
    socket.pauseProducing()
    sending = [asyncio.create_task(socket.send(TEXT)) for _ in range(2)]
    await asyncio.sleep(0)
    socket.resumeProducing()
    await until(lambda: any(task.done() for task in sending))
    await asyncio.sleep(0)
    assert len(protocol.sent) == 1
    socket.resumeProducing()
    await asyncio.gather(*sending)
    assert len(protocol.sent) == 2


async def test_one_that_is_cancelled_does_not_take_the_others_with_it(socket, protocol):
    socket.pauseProducing()
    first, second = (asyncio.create_task(socket.send(TEXT)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    socket.resumeProducing()
    await second
    assert protocol.sent == [TEXT]


async def test_a_lost_connection_lets_everybody_go_on(socket, protocol):
    socket.pauseProducing()
    sending = asyncio.create_task(socket.send(TEXT))
    await asyncio.sleep(0)
    assert protocol.sent == []
    socket.stopProducing()
    await sending
    assert protocol.sent == [TEXT]


async def test_resuming_without_a_pause_is_no_error(socket, protocol):
    socket.resumeProducing()
    socket.stopProducing()
    await socket.send(TEXT)
    assert protocol.sent == [TEXT]


async def test_a_transport_that_is_to_close_is_let_close(socket, protocol):
    assert protocol.transport.producer is socket
    socket.resumeProducing()
    assert protocol.transport.producer is socket
    protocol.transport.disconnecting = True
    socket.resumeProducing()
    assert protocol.transport.producer is None


def test_the_client_is_held_and_released(socket, protocol):
    socket.hold(True)
    socket.hold(False)
    assert protocol.transport.log == ["pause", "resume"]
