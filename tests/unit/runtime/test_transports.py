"""What leads from a server's ``send`` to its transport, whatever is between."""

import asyncio
import contextlib
import datetime
import functools
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from channels._runtime import sockets
from channels._runtime.transports import abort, find, taken
from channels.sessions import InstanceSessionWrapper
from tests.asgi import until


class Protocol(asyncio.Protocol):
    """Of a server: it has the transport, and a ``send`` for the application."""

    transport = None
    lost = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.lost = True

    async def send(self, message):
        raise AssertionError("nothing is sent")

    async def relay(self, prefix, message):
        raise AssertionError("nothing is sent")


@contextlib.asynccontextmanager
async def connected(**options):
    """A server's protocol, and the reader of its client."""
    loop, protocols = asyncio.get_running_loop(), []

    def make():
        protocols.append(Protocol())
        return protocols[-1]

    server = await loop.create_server(make, "127.0.0.1", 0, ssl=options.get("server_ssl"))
    host, port = server.sockets[0].getsockname()
    context = options.get("client_ssl")
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        await until(lambda: protocols)
        yield protocols[0], reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()


@pytest.fixture
async def protocol():
    async with connected() as (protocol, reader):
        protocol.reader = reader
        yield protocol


def middleware(send):
    """As most wrap it."""

    async def wrapped(message):
        await send(message)

    return wrapped


class Wrapper:
    def __init__(self, name, send):
        setattr(self, name, send)

    async def wrapped(self, message):
        raise AssertionError("nothing is sent")


class Responder:
    """As Starlette's and others: a method of its own with the same name."""

    def __init__(self, send):
        self.real_send = send

    async def send(self, message):
        await self.real_send(message)


def deep(send):
    for _ in range(5):
        send = Responder(middleware(send)).send
    return send


WAYS = {
    "a bound method": lambda p: p.send,
    "a partial": lambda p: functools.partial(p.relay, "x"),
    "an argument of a partial": lambda p: functools.partial(Protocol.relay, p, "x"),
    "a closure": lambda p: middleware(p.send),
    "closures": lambda p: middleware(middleware(middleware(p.send))),
    "a partial of a closure": lambda p: functools.partial(middleware(p.send)),
    "an attribute send": lambda p: Wrapper("send", p.send).wrapped,
    "an attribute real_send": lambda p: Wrapper("real_send", p.send).wrapped,
    "an attribute writer": lambda p: Wrapper("writer", p).wrapped,
    "the object itself": lambda p: p,
    "the session's": lambda p: InstanceSessionWrapper({"session": {}}, p.send).send,
    "many of everything": lambda p: deep(p.send),
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_transport_behind_it_is_aborted(protocol, way):
    send = WAYS[way](protocol)
    assert find(send, lambda here: here is protocol) is protocol
    assert abort({"type": "websocket"}, send)
    await until(lambda: protocol.lost)
    with contextlib.suppress(ConnectionResetError):
        assert await protocol.reader.read() == b""


async def test_what_waits_to_be_sent_is_not_waited_for(protocol):
    protocol.transport.write(bytes(64 * 2**20))
    assert protocol.transport.get_write_buffer_size() > 0
    assert abort({"type": "http"}, protocol.send)
    await until(lambda: protocol.lost)
    assert protocol.transport.get_write_buffer_size() == 0


async def test_encrypted_transports_too(tmp_path):
    server, client = (ssl.SSLContext(p) for p in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)
    server.load_cert_chain(certificate, key)
    async with connected(server_ssl=server, client_ssl=client) as (protocol, _):
        await until(lambda: protocol.transport)
        assert abort({"type": "websocket"}, middleware(protocol.send))
        await until(lambda: protocol.lost)


def make_certificate(key_file, certificate_file):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def test_an_empty_cell_hides_nothing(protocol):
    send = protocol.send

    async def wrapped(message):
        await another(message)
        await send(message)

    assert wrapped.__code__.co_freevars == ("another", "send")
    assert abort({}, wrapped)
    another = None


@pytest.mark.parametrize("version", ["1.0", "1.1", None])
async def test_http_1_has_the_connection_for_itself(protocol, version):
    scope = {} if version is None else {"http_version": version}
    assert abort(scope, protocol.send)


@pytest.mark.parametrize("version", ["2", "2.0", "3", 2])
async def test_a_connection_that_others_share_is_left_alone(protocol, version):
    assert not abort({"http_version": version}, protocol.send)
    assert not protocol.transport.is_closing()


async def test_twisteds_transports_are_called_what_they_are():
    class Transport:
        aborted = 0

        def abortConnection(self):
            self.aborted += 1

    protocol = Protocol()
    protocol.transport = Transport()
    assert abort({}, protocol.send)
    assert protocol.transport.aborted == 1


async def nothing(message):
    pass


def empty_cell(message):
    if message:
        later = None
    return lambda: later


class Hostile:
    """Its attributes raise what they like."""

    def __call__(self, message):
        raise AssertionError("not to be called")

    def __getattr__(self, name):
        raise RuntimeError("out of context")


@pytest.mark.parametrize(
    "send",
    [
        nothing,
        print,
        middleware(nothing),
        empty_cell(None),
        functools.partial(nothing, "x", 1),
        Hostile(),
        middleware(Hostile()),
        Protocol().send,  # never connected
        object(),
        None,
    ],
    ids=[
        "function",
        "builtin",
        "closure",
        "empty closure",
        "partial",
        "hostile",
        "closure of hostile",
        "no transport",
        "object",
        "none",
    ],
)
def test_nothing_is_found(send):
    assert not abort({}, send)


def test_what_leads_in_circles_comes_to_an_end():
    one, other = Responder(None), Responder(None)
    one.real_send, other.real_send = other.send, one.send
    assert not abort({}, one.send)


def test_it_does_not_look_for_ever():
    looked = []

    class Chain:
        @property
        def send(self):
            return Chain()

    find(Chain(), looked.append)
    assert len(looked) == 30


async def test_a_hostile_neighbour_hides_nothing(protocol):
    def wrap(send, neighbour):
        async def wrapped(message):
            await send(neighbour)

        return wrapped

    assert abort({}, wrap(protocol.send, Hostile()))


async def test_the_nearest_is_found(protocol):
    async with connected() as (other, _):
        protocol.writer = other
        assert abort({}, protocol.send)
        await until(lambda: protocol.lost)
        assert not other.transport.is_closing()


async def test_what_a_client_takes_is_seen(monkeypatch):
    """Also while the kernel's buffers hide it from the transport."""
    async with connected() as (protocol, reader):
        scope = {"type": "websocket", "http_version": "1.1"}
        assert taken(scope, protocol.send) is not None
        protocol.transport.write(b"x" * 2**24)
        for _ in range(3):  # the client's side takes as much as its buffers hold, then no more
            before = taken(scope, protocol.send)
            await reader.readexactly(2**21)
            await until(lambda before=before: taken(scope, protocol.send) > before)
        assert taken(scope | {"http_version": "2"}, protocol.send) is None
        assert taken(scope, asyncio.sleep) is None
        monkeypatch.setattr(sockets, "_ON_LINUX", False)  # as on other systems
        before = taken(scope, protocol.send)
        assert before < 0
        await reader.readexactly(2**22)
        await until(lambda: taken(scope, protocol.send) > before)
        protocol.transport.abort()


async def test_a_transport_without_a_socket_is_measured_by_its_buffer():
    class Transport:
        def abort(self):
            raise AssertionError("nobody aborts")

        def get_extra_info(self, name):
            return None

        def get_write_buffer_size(self):
            return 7

    protocol = Protocol()
    protocol.transport = Transport()
    assert taken({"http_version": "1.1"}, protocol.send) == -7


async def test_a_socket_that_is_not_tcp_is_measured_by_its_buffer(tmp_path):
    path = str(tmp_path / "socket")
    protocols = []

    def make():
        protocols.append(Protocol())
        return protocols[-1]

    server = await asyncio.get_running_loop().create_unix_server(make, path)
    _, writer = await asyncio.open_unix_connection(path)
    await until(lambda: protocols)
    assert taken({"http_version": "1.1"}, protocols[0].send) == 0
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
