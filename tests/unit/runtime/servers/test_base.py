"""What can be asked of every server, and of those with a transport of asyncio's."""

import asyncio
import contextlib
import datetime
import logging
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from channels._runtime.servers import tcp
from channels._runtime.servers.base import (
    Server,
    Shutdown,
    TransportServer,
    require,
    serves,
    tell_unexpected,
)
from tests.asgi import until
from tests.unit.runtime.servers.standins import Transport, make_scope

TEXT = {"type": "websocket.send", "text": "x"}


async def anything(*arguments):
    raise AssertionError("not to be called")


# An unknown server


async def test_an_unknown_server_is_sent_to_and_nothing_else():
    sent = []

    async def send(message):
        sent.append(message)

    server = Server(make_scope(), send)
    assert not server.begin()
    await server.send(TEXT)
    server.hold(True)
    assert sent == [TEXT]
    assert not server.abort()
    assert server.close_waits_for_receive
    with pytest.raises(NotImplementedError):
        Server.of(object(), make_scope(), send, None)


async def test_an_unknown_server_is_measured_by_its_addresses(monkeypatch):
    figures = {("a", 1): 7}
    monkeypatch.setattr(
        "channels._runtime.servers.base.acknowledged_by_address",
        lambda scope: figures.get(scope.get("client")),
    )
    assert Server(make_scope(client=("a", 1)), anything).taken() == 7
    assert Server(make_scope(client=("b", 1)), anything).taken() is None
    assert Server(make_scope(client=("a", 1), http_version="2"), anything).taken() is None


# A transport


class Protocol(asyncio.Protocol):
    transport = None
    lost = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.lost = True

    def server(self, transport=True):
        return TransportServer(make_scope(), anything, self.transport if transport else None)


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
        await until(lambda: protocols and protocols[0].transport)
        yield protocols[0], reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def test_what_waits_to_be_sent_is_not_waited_for():
    async with connected() as (protocol, reader):
        protocol.transport.write(bytes(64 * 2**20))
        assert protocol.transport.get_write_buffer_size() > 0
        assert protocol.server().abort()
        await until(lambda: protocol.lost)
        assert protocol.transport.get_write_buffer_size() == 0
        with contextlib.suppress(ConnectionResetError):
            await reader.read()


async def test_encrypted_transports_are_aborted_too(tmp_path):
    server, client = (ssl.SSLContext(p) for p in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)
    server.load_cert_chain(certificate, key)
    async with connected(server_ssl=server, client_ssl=client) as (protocol, _):
        assert protocol.server().abort()
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


async def test_what_is_unsent_is_asked_of_the_kernel_too(monkeypatch):
    monkeypatch.setattr("channels._runtime.servers.base.unsent_by_address", lambda scope: 5)
    assert Server(make_scope(), anything).unsent() == 5
    assert Server(make_scope(http_version="2"), anything).unsent() is None
    assert TransportServer(make_scope(), anything, Transport(unsent=7)).unsent() == 7
    async with connected() as (protocol, reader):
        server = protocol.server()
        assert server.unsent() == 0
        protocol.transport.write(b"x" * 2**24)
        assert server.unsent() > 2**23
        await reader.readexactly(2**24)
        await until(lambda: server.unsent() == 0)


async def test_a_connection_that_others_share_is_left_alone():
    async with connected() as (protocol, _):
        server = protocol.server(transport=False)
        assert not server.abort()
        assert server.taken() is None
        assert server.unsent() is None
        assert not protocol.transport.is_closing()


async def test_what_a_client_takes_is_seen(monkeypatch):
    """Also while the kernel's buffers hide it from the transport."""
    async with connected() as (protocol, reader):
        server = protocol.server()
        assert server.taken() is not None
        protocol.transport.write(b"x" * 2**24)
        for _ in range(3):  # the client's side takes as much as its buffers hold, then no more
            before = server.taken()
            await reader.readexactly(2**21)
            await until(lambda before=before: server.taken() > before)
        monkeypatch.setattr(tcp, "_ON_LINUX", False)  # as on other systems
        before = server.taken()
        assert before < 0
        await reader.readexactly(2**22)
        await until(lambda: server.taken() > before)
        protocol.transport.abort()


def test_a_transport_without_a_socket_is_measured_by_its_buffer():
    assert TransportServer(make_scope(), anything, Transport(unsent=7)).taken() == -7


async def test_a_socket_that_is_not_tcp_is_measured_by_its_buffer(tmp_path):
    path = str(tmp_path / "socket")
    protocols = []

    def make():
        protocols.append(Protocol())
        return protocols[-1]

    server = await asyncio.get_running_loop().create_unix_server(make, path)
    _, writer = await asyncio.open_unix_connection(path)
    await until(lambda: protocols)
    assert protocols[0].server().taken() == 0
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


# A shutdown that a signal begins


async def test_there_is_nothing_to_know_of_a_shutdown_that_begins_with_sigterm():
    shutdown = Shutdown()
    assert shutdown.by_signal
    assert not shutdown.begun
    assert not shutdown.is_by_parent()
    await shutdown.settle()


# Whose object it is


class Source:
    async def receive(self):
        raise AssertionError("nothing is received")


HEADERS = [(b"host", b"a")]


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [(HEADERS, True), (list(HEADERS), False), (None, False)],
    ids=["the same list", "an equal list", "none"],
)
def test_the_headers_tell_which_connection_an_object_serves(headers, is_own):
    assert serves({"headers": HEADERS}, None, headers=headers, source=None) is is_own


def test_receive_tells_which_connection_an_object_serves():
    one, other = Source(), Source()
    assert serves({}, one.receive, headers=None, source=one)
    assert not serves({}, other.receive, headers=None, source=one)
    assert not serves({}, anything, headers=None, source=one)
    assert not serves({}, anything, headers=None, source=None)
    assert not serves({}, None, headers=None, source=None)


# What is not as expected


def test_attributes_are_required_by_name():
    require("text", "upper", "lower")
    with pytest.raises(AttributeError, match="shout"):
        require("text", "upper", "shout")


def test_each_consequence_is_told_once_with_the_servers_version(caplog):
    for _ in range(3):
        tell_unexpected("django", "it has no wings", "it does not fly")
        tell_unexpected("django", "it has no legs", "it does not run")
    first, second = caplog.records
    assert (first.name, first.levelno) == ("channels.servers", logging.WARNING)
    assert "it does not fly" in first.getMessage()
    assert "it has no legs" in second.getMessage()
    assert first.getMessage().split()[1][0].isdigit()


def test_a_server_that_is_not_installed_as_a_package_is_told_of_without_a_version(caplog):
    tell_unexpected("no-such-server", "it has no wings", "it does not fly")
    assert caplog.records[0].getMessage().startswith("no-such-server (unknown version) is not")
