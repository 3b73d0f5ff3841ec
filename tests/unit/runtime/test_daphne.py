"""What is said to Daphne's socket, and when. The real one is in tests/conformance/servers."""

import asyncio
import functools
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels._runtime.daphne import DaphneSocket, _as_dict, find_socket
from tests.asgi import until

TEXT = {"type": "websocket.send", "text": "x"}


class Transport:
    """As Twisted's, as far as a producer sees it."""

    disconnecting = False

    def __init__(self):
        self.producer, self.log = "the HTTP channel", []

    def registerProducer(self, producer, streaming):
        assert self.producer is None, "one at a time"
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def pauseProducing(self):
        self.log.append("pause")

    def resumeProducing(self):
        self.log.append("resume")


class Protocol:
    """As Daphne's, which is autobahn's."""

    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)

    def __init__(self):
        self.transport, self.state, self.sent = Transport(), self.STATE_OPEN, []

    def serverAccept(self, subprotocol=None):
        raise AssertionError

    def sendMessage(self, payload, is_binary):
        self.sent.append((payload, is_binary))

    def sendCloseFrame(self, code, reason):
        self.sent.append((code, reason))

    async def handle_reply(self, message):
        self.sent.append(message)


@pytest.fixture
def protocol():
    return Protocol()


@pytest.fixture
def socket(protocol):
    return DaphneSocket(protocol, protocol.handle_reply)


@pytest.fixture
def daphne(monkeypatch):
    """As if it had been imported."""
    monkeypatch.setitem(sys.modules, "daphne.ws_protocol", types.ModuleType("daphne.ws_protocol"))


# Which sockets


@pytest.mark.usefixtures("daphne")
def test_it_is_found_behind_what_the_application_is_given(protocol):
    server_send = functools.partial(Protocol.handle_reply, protocol)  # so Daphne makes it

    async def middleware(message):
        await server_send(message)

    for send in (server_send, middleware):
        found = find_socket({"type": "websocket"}, send)
        assert isinstance(found, DaphneSocket)
        assert protocol.transport.producer is found
        assert find_socket({"type": "http"}, send) is None


@pytest.mark.usefixtures("daphne")
def test_nothing_else_is(protocol):
    async def send(message):
        pass

    assert find_socket({"type": "websocket"}, send) is None
    del protocol.transport
    assert find_socket({"type": "websocket"}, protocol.handle_reply) is None


def test_without_daphne_nobody_looks(protocol, monkeypatch):
    monkeypatch.delitem(sys.modules, "daphne.ws_protocol", raising=False)
    assert find_socket({"type": "websocket"}, protocol.handle_reply) is None
    assert protocol.transport.producer == "the HTTP channel"


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
    protocol.state = getattr(Protocol, state)
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
    protocol = Protocol()
    socket = DaphneSocket(protocol, protocol.handle_reply)
    asyncio.run(socket.send({"type": "websocket.close", "code": 4000, "reason": reason}))
    [(_, sent)] = protocol.sent
    sent = sent or b""
    assert len(sent) <= 123
    assert reason.startswith(sent.decode())
    rest = reason[len(sent.decode()) :]
    assert not rest or len(sent) + len(rest[0].encode()) > 123


@pytest.mark.parametrize("state", ["STATE_CLOSING", "STATE_CLOSED", "STATE_CONNECTING"])
async def test_other_sockets_are_closed_as_daphne_does(socket, protocol, state):
    protocol.state = getattr(Protocol, state)
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


# When


async def test_it_waits_while_the_transport_has_no_room(socket, protocol):
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


async def test_it_waits_again_when_the_first_has_taken_the_room(socket, protocol):
    async def take_room(message):
        protocol.sent.append(message)
        socket.pauseProducing()

    socket._send = take_room
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


async def test_it_resumes_without_having_been_paused(socket, protocol):
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


def test_the_client_is_held_and_let_go(socket, protocol):
    socket.hold(True)
    socket.hold(False)
    assert protocol.transport.log == ["pause", "resume"]
