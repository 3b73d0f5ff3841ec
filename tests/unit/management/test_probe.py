"""What servers may answer, down to the byte: by servers that say just what they are told to."""

import base64
import contextlib
import datetime
import hashlib
import re
import socket
import ssl
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.management.probe import ProbeFailed, Target, ask_http, ask_websocket

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Server:
    """Answers each request with what ``answer`` makes of it, and closes."""

    def __init__(self, answer, tls=None):
        self.answer = answer
        self.tls = tls
        self.requests = []
        self.received = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with contextlib.suppress(OSError):
                    connection.settimeout(10)
                    if self.tls is not None:
                        connection = self.tls.wrap_socket(connection, server_side=True)
                    self.serve(connection)
                connection.close()

    def serve(self, connection):
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(65536)
            if not part:
                return
            request += part
        self.requests.append(request.decode("ascii"))
        for part in self.answer(self.requests[-1]):
            connection.sendall(part) if isinstance(part, bytes) else time.sleep(part)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                self.received += part

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(20)


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def serve(answer, **options):
            server = Server(answer, **options)
            stack.callback(server.close)
            return server

        yield serve


def http(status="200 OK", body=b"", *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return lambda request: ["\r\n".join(lines).encode() + body]


def accept(request, *frames, **changes):
    key = re.search(r"Sec-WebSocket-Key: (\S+)", request)[1]
    digest = hashlib.sha1((key + GUID).encode()).digest()
    headers = {
        "Upgrade": "WebSocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return ["\r\n".join(["HTTP/1.1 101 Go", *lines, "", ""]).encode(), *frames]


def ask(kind, server, **options):
    asks = {"http": ask_http, "https": ask_http, "ws": ask_websocket, "wss": ask_websocket}
    target = Target(f"{kind}://127.0.0.1:{server.port}/path?token=secret", **options)
    asks[kind](target)


def failure(*arguments, **options):
    with pytest.raises(ProbeFailed) as failed:
        ask(*arguments, **options)
    text = str(failed.value)
    assert "secret" not in text
    assert text.isprintable()
    return text.partition("/path: ")[2]


class TestHTTP:
    def test_it_is_well(self, serve):
        server = serve(http("204 No Content"))
        ask("http", server)
        assert server.requests[0].startswith("GET /path?token=secret HTTP/1.1\r\n")
        assert f"Host: 127.0.0.1:{server.port}\r\n" in server.requests[0]

    def test_the_host_may_be_chosen(self, serve):
        server = serve(http())
        ask("http", server, host="www.example.com")
        assert "Host: www.example.com\r\n" in server.requests[0]

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (http("503 Service Unavailable"), "503 Service Unavailable"),
            (http("404 Not Found", b"<html>"), "404 Not Found"),
            (http("500 Oops", b"[1, 2]"), "500 Oops"),
            (http("500 Oops", b'{"checks": {"a": 1}}'), "500 Oops"),
            (
                http("503 No", b'{"checks": {"a": {"ok": false, "error": "bad\\u001b"}}}'),
                r"503 No (a: bad\x1b)",
            ),
            (
                http("301 Moved", b"", "Location: https://a.example/?token=secret"),
                "301 Moved to https://a.example/",
            ),
            (lambda request: [], "Remote end closed connection without response"),
            (lambda request: [b"SSH-2.0-OpenSSH\r\n"], r"SSH-2.0-OpenSSH\r\n"),
            (lambda request: [b"HTTP/1.1 200 " + b"x" * 100_000], "got more than 65536 bytes"),
        ],
    )
    def test_it_is_not(self, serve, answer, reason):
        assert reason in failure("http", serve(answer))

    def test_nobody_listens(self, serve):
        server = serve(http())
        server.close()
        assert "refused" in failure("http", server)

    @pytest.mark.parametrize("parts", [[30.0], [b"H", 0.2] * 50, [b"HTTP/1.1 200 OK\r\n", 30.0]])
    def test_the_deadline_holds_also_for_one_who_is_slow(self, serve, parts, monkeypatch):
        stop = threading.Event()
        monkeypatch.setattr(time, "sleep", stop.wait)
        server = serve(lambda request: parts)
        started = time.monotonic()
        try:
            assert failure("http", server, timeout=0.5) == "no answer within 0.5 s"
            assert time.monotonic() - started < 3
        finally:
            stop.set()

    def test_no_time_at_all_is_no_answer(self, serve):
        server = serve(http())
        assert "no answer within 0 s" in failure("http", server, timeout=0.0)
        assert server.requests == []

    def test_an_address_that_refuses_is_followed_by_the_next(self, serve, monkeypatch):
        server = serve(http())
        resolve = socket.getaddrinfo

        def two_addresses(host, port, *arguments, **options):
            hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.test" else [host]
            return [found for host in hosts for found in resolve(host, port, *arguments, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        ask_http(Target(f"http://two.test:{server.port}/"))
        assert len(server.requests) == 1

    def test_a_long_explanation_is_not_read_to_its_end(self, serve):
        body = b'{"checks": {"a": {"ok": false, "error": "' + b"x" * 1_000_000 + b'"}}}'
        assert failure("http", serve(http("503 No", body))) == "503 No"


class TestWebSocket:
    PONG = b"\x81\x04pong"

    def test_it_is_well(self, serve):
        server = serve(lambda request: accept(request, self.PONG))
        ask("ws", server)
        (request,) = server.requests
        assert f"Origin: http://127.0.0.1:{server.port}\r\n" in request
        assert "Sec-WebSocket-Version: 13\r\n" in request
        assert unmasked(server) == [(0x81, b"ping"), (0x88, b"\x03\xe8")]

    def test_a_pong_that_comes_in_pieces_after_a_ping_of_the_server(self, serve):
        frames = [b"\x89\x02hi", b"\x81", 0.05, b"\x04po", 0.05, b"ng"]
        server = serve(lambda request: accept(request, *frames))
        ask("ws", server)
        assert unmasked(server)[1] == (0x8A, b"hi")

    def test_the_host_and_the_origin_may_be_chosen(self, serve):
        server = serve(lambda request: accept(request, self.PONG))
        ask("ws", server, host="www.example.com")
        ask("ws", server, host="www.example.com", origin="https://app.example")
        assert "Origin: http://www.example.com\r\n" in server.requests[0]
        assert "Origin: https://app.example\r\n" in server.requests[1]

    def test_each_key_is_another(self, serve):
        server = serve(lambda request: accept(request, self.PONG))
        for _ in range(2):
            ask("ws", server)
        keys = {re.search(r"Sec-WebSocket-Key: (\S+)", request)[1] for request in server.requests}
        assert len(keys) == 2
        assert {len(base64.b64decode(key)) for key in keys} == {16}

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("Sec-WebSocket-Accept", None),
            ("Upgrade", "h2c"),
            ("Upgrade", None),
            ("Connection", "keep-alive"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Sec-WebSocket-Protocol", "chat"),
        ],
    )
    def test_a_handshake_that_is_none(self, serve, header, value):
        change = {header: value}
        server = serve(lambda request: accept(request, self.PONG, **change))
        assert failure("ws", server) == f"the handshake's answer has a wrong {header}"

    @pytest.mark.parametrize("status", ["403 Forbidden", "200 OK", "404 Not Found"])
    def test_it_is_refused(self, serve, status):
        reason = failure("ws", serve(http(status)))
        assert reason == f"the handshake was refused: {status}"

    @pytest.mark.parametrize(
        ("frame", "reason"),
        [
            (b"\x88\x02\x03\xf3", "answered a close with 1011"),
            (b"\x88\x06\x0f\xa1full", "answered a close with 4001 (full)"),
            (b"\x88\x00", "answered a close with no code"),
            (b"\x81\x04ping", "answered a frame of 4 bytes"),
            (b"\x82\x04pong", "answered a frame of 4 bytes"),
            (b"\x81\x7e\x01\x00" + b"x" * 256, "answered a frame that is no 'pong'"),
            (b"\x01\x02po", "answered a frame that is no 'pong'"),
            (b"\xc1\x04pong", "answered a frame that is no 'pong'"),
            (b"\x81\x84abcdpong", "answered a frame that is no 'pong'"),
            (b"\x81\x04po", "the connection was closed in place of an answer"),
            (b"", "the connection was closed in place of an answer"),
        ],
    )
    def test_another_answer(self, serve, frame, reason):
        server = serve(lambda request: accept(request, frame))
        assert failure("ws", server).startswith(reason)

    def test_the_deadline_holds_also_for_one_who_pings_for_ever(self, serve):
        server = serve(lambda request: accept(request, *[b"\x89\x00", 0.02] * 100))
        assert failure("ws", server, timeout=0.5) == "no answer within 0.5 s"


class TestTLS:
    @pytest.fixture
    def tls(self, tmp_path):
        pem = tmp_path / "server.pem"
        pem.write_bytes(self_signed("localhost"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.pem = pem
        return context

    def test_a_certificate_that_nobody_knows(self, serve, tls):
        server = serve(http(), tls=tls)
        assert "CERTIFICATE_VERIFY_FAILED" in failure("https", server)
        ask("https", server, insecure=True)

    def test_websockets(self, serve, tls):
        server = serve(lambda request: accept(request, TestWebSocket.PONG), tls=tls)
        assert "CERTIFICATE_VERIFY_FAILED" in failure("wss", server)
        ask("wss", server, insecure=True)
        assert f"Origin: https://127.0.0.1:{server.port}\r\n" in server.requests[0]

    def test_the_certificate_is_that_of_the_host(self, serve, tls, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(self.pem))
        server = serve(http(), tls=tls)
        assert "CERTIFICATE_VERIFY_FAILED" in failure("https", server)
        ask("https", server, host="localhost:8443")

    def test_one_who_speaks_no_tls(self, serve):
        assert failure("https", serve(http()), timeout=0.5) == "no answer within 0.5 s"


class TestTarget:
    @pytest.mark.parametrize(
        ("url", "problem"),
        [
            ("ftp://a/", "must start with"),
            ("127.0.0.1:8000", "must start with"),
            ("http://", "must start with"),
            ("http://a:port/", "Port could not be cast"),
            ("http://[::1/", "IPv6"),
            ("http://user:hunter2@a/", "must not hold credentials"),
        ],
    )
    def test_urls_that_cannot_be_asked(self, url, problem):
        with pytest.raises(ProbeFailed, match=problem) as failed:
            Target(url)
        assert "hunter2" not in str(failed.value)

    @pytest.mark.parametrize("name", ["host", "origin"])
    @pytest.mark.parametrize("value", ["a\r\nX: y", "münchen"])
    def test_headers_that_are_none(self, name, value):
        with pytest.raises(ProbeFailed, match="printable ASCII"):
            Target("ws://a/", **{name: value})

    @given(st.text(), st.text())
    def test_whatever_the_path_the_request_is_one_line(self, path, query):
        target = Target(f"http://host/{path}?{query}")
        assert target.path.isascii()
        assert target.path.isprintable()
        assert " " not in target.path
        assert target.path.startswith("/")


def unmasked(server):
    """The frames that the client sent, all of which must be masked."""
    server.close()
    frames, rest = [], server.received
    while rest:
        first, second = rest[:2]
        assert second & 0x80
        length = second & 0x7F
        mask, masked, rest = rest[2:6], rest[6 : 6 + length], rest[6 + length :]
        frames.append((first, bytes(b ^ mask[i % 4] for i, b in enumerate(masked))))
    return frames


def self_signed(name):
    """A key and a certificate for ``name``, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
