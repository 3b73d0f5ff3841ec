"""Objects of the shapes that the adapters expect, from modules that are named like the servers'.

The servers themselves need not be installed for these tests. The adapters are tested with the real
ones in tests/conformance/servers.
"""

import asyncio
import functools

__all__ = [
    "SERVERS",
    "Daphne",
    "Granian",
    "Hypercorn",
    "Transport",
    "TwistedTransport",
    "Uvicorn",
    "from_module",
    "make_scope",
]


def from_module(name):
    """Makes a class look as if it had been defined in the module of that name."""

    def put_there(cls):
        cls.__module__ = name
        return cls

    return put_there


def make_scope(scope_type="websocket", **more):
    return {"type": scope_type, "asgi": {"version": "3.0"}, "headers": [(b"host", b"a")], **more}


class Transport:
    """As asyncio's."""

    def __init__(self, unsent=0):
        self.unsent, self.aborted = unsent, 0

    def abort(self):
        self.aborted += 1

    def get_extra_info(self, name):
        return None

    def get_write_buffer_size(self):
        return self.unsent


class TwistedTransport:
    """As Twisted's, as far as a producer sees it."""

    disconnecting = False

    def __init__(self):
        self.producer, self.log, self.aborted = "the HTTP channel", [], 0

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

    def abortConnection(self):
        self.aborted += 1


class Uvicorn:
    """One client of a server: what the application is given, and the objects behind it."""

    def __init__(self, transport=None, **scope):
        self.scope = make_scope(**scope)
        self.transport = Transport() if transport is None else transport
        self.protocol = _UvicornProtocol(self.scope, self.transport)
        self.send, self.receive = self.protocol.send, self.protocol.receive


@from_module("uvicorn.protocols.websockets.some_impl")
class _UvicornProtocol:
    def __init__(self, scope, transport):
        self.scope, self.transport = scope, transport

    async def send(self, message):
        raise AssertionError("nothing is sent")

    async def receive(self):
        raise AssertionError("nothing is received")


class Hypercorn:
    def __init__(self, transport=None, **scope):
        self.scope = make_scope(**scope)
        self.transport = Transport() if transport is None else transport
        self.tcp = _HypercornServer(self.transport)
        self.protocol = _HypercornStream(self.scope, _HypercornProtocol(self.tcp))
        self.send, self.receive = self.protocol.app_send, self.protocol.app_put.__self__.get


class _HypercornWriter:
    def __init__(self, transport):
        self.transport = transport


class _HypercornServer:
    def __init__(self, transport):
        self.writer = _HypercornWriter(transport)

    async def protocol_send(self, event):
        raise AssertionError("nothing is sent")


class _HypercornProtocol:
    def __init__(self, server):
        self.send = server.protocol_send

    async def stream_send(self, event):
        raise AssertionError("nothing is sent")


class _HypercornHandshake:
    extensions = ("permessage-deflate",)


class _HypercornBuffer:
    """Takes ten bytes."""

    def __init__(self):
        self.value = b""

    def extend(self, event):
        self.value += event
        if len(self.value) > 10:
            raise OverflowError

    def clear(self):
        self.value = b""

    def to_message(self):
        return self.value


@from_module("hypercorn.protocol.some_stream")
class _HypercornStream:
    def __init__(self, scope, protocol):
        self.scope, self.send, self.app_put = scope, protocol.stream_send, asyncio.Queue().put
        self.handshake = _HypercornHandshake()
        self.buffer = _HypercornBuffer()

    async def app_send(self, message):
        raise AssertionError("nothing is sent")


class Daphne:
    def __init__(self, transport=None, **scope):
        self.scope = make_scope(**scope)
        self.transport = TwistedTransport() if transport is None else transport
        kind = _DaphneWebSocket if self.scope["type"] == "websocket" else _DaphneRequest
        self.protocol = kind(self.scope, self.transport)
        self.send = functools.partial(_DaphneServer().handle_reply, self.protocol)
        self.receive = self.protocol.application_queue.get


@from_module("daphne.server")
class _DaphneServer:
    async def handle_reply(self, protocol, message):
        protocol.handle_reply(message)


class _HttpChannel:
    lost = False

    def loseConnection(self):
        self.lost = True


@from_module("daphne.http_protocol")
class _DaphneRequest:
    producer = None

    def __init__(self, scope, transport):
        self.clean_headers, self.transport, self.sent = scope["headers"], transport, []
        self.application_queue = asyncio.Queue()
        self.channel = _HttpChannel()

    def registerProducer(self, producer, streaming):
        assert self.producer is None, "one at a time"
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def handle_reply(self, message):
        self.sent.append(message)


@from_module("daphne.ws_protocol")
class _DaphneWebSocket(_DaphneRequest):
    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)
    state = STATE_OPEN

    def sendMessage(self, payload, is_binary):
        self.sent.append((payload, is_binary))

    def sendCloseFrame(self, code, reason):
        self.sent.append((code, reason))


class Granian:
    transport = None

    def __init__(self, **scope):
        self.scope = make_scope(**scope)
        self.protocol = _GranianProtocol()
        self.send, self.receive = self.protocol.send, self.protocol.receive


@from_module("granian._granian")
class _GranianProtocol:
    async def send(self, message):
        raise AssertionError("nothing is sent")

    async def receive(self):
        raise AssertionError("nothing is received")


#: Those whose objects lead to a transport.
SERVERS = [Uvicorn, Hypercorn, Daphne]
