"""Server-sent events, as EventSource reads them, and WebSockets that fall back to them."""

import asyncio
import base64
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import pytest

from .conftest import Start
from .http2 import Http2Connection
from .site import Site

pytestmark = pytest.mark.server

SOON = 1.0  # seconds
MEBIBYTE = 2**20
TYPE = "application/channels+json"


class Events:
    """The events of a response, as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.lines = response.aiter_lines()

    async def next(self) -> dict[str, str]:
        """The next event: its fields. Comments are passed over."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self.lines:
                if not line and fields:
                    return fields
                name, _, value = line.partition(": ")
                if name and not line.startswith(":"):
                    fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        raise EOFError

    async def expect_beginning(self) -> None:
        """Wait for the first line, after which the stream is known to the process."""
        async with asyncio.timeout(10):
            assert await anext(self.lines) in {":", "event: hello"}

    async def expect_end(self) -> None:
        """Wait for the end of the stream, before which no event comes."""
        with pytest.raises(EOFError):
            await self.next()


@asynccontextmanager
async def listening(site: Site, flavour: str, key: str, **headers: str) -> AsyncIterator[Events]:
    """A browser that reads the stream, and has got its first event."""
    path = f"{site.root}/consumer/events/{flavour}/"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.http.stream("GET", path, params={"key": key}, headers=headers) as response:
        assert response.status_code == 200
        events = Events(response)
        first = await events.next()
        assert first == {
            "event": "hello",
            "id": "0",
            "data": f"after {headers.get('last-event-id')}",
        }
        yield events


async def tell(site: Site, group: str = "events", **message: Any) -> None:
    path = f"{site.root}/consumer/tell/"
    response = await site.http.post(path, params={"group": group}, json=message)
    assert response.status_code == 204


async def test_events_of_a_group(site: Site, flavour):
    async with (
        listening(site, flavour, site.key()) as one,
        listening(site, flavour, site.key(), last_event_id="17") as other,
    ):
        for events in (one, other):
            assert events.response.headers["content-type"].startswith("text/event-stream")
            assert "no-cache" in events.response.headers["cache-control"]
        await tell(site, type="event.said", content={"text": "ü\n"}, id="18")
        for events in (one, other):
            event = await events.next()
            assert (json.loads(event["data"]), event["id"]) == ({"text": "ü\n"}, "18")


async def test_a_browser_that_leaves(site: Site, flavour):
    key = site.key()
    async with listening(site, flavour, key):
        assert (await site.state())["groups"] == {"events": 1, f"events.{key}": 1}
    await site.events.wait(key, "disconnect", SOON)


async def test_the_application_ends_the_stream(site: Site, flavour):
    key = site.key()
    async with listening(site, flavour, key) as events:
        await tell(site, type="event.over")
        await events.expect_end()
    await site.events.wait(key, "disconnect", SOON)


async def test_a_crash_ends_the_stream(site: Site, flavour):
    key = site.key()
    async with listening(site, flavour, key) as events:
        await tell(site, type="event.crash")
        await events.expect_end()
    path = f"/consumer/events/{flavour}/"
    await site.expect_crash(f"{flavour.capitalize()}Events", path, "RuntimeError: in an event")
    await site.events.wait(key, "disconnect", SOON)


async def test_a_page_of_another_origin(site: Site, flavour):
    path = f"/consumer/events/{flavour}/"
    headers = {"origin": "https://bad.example"}
    response = await site.http.get(path, params={"key": site.key()}, headers=headers)
    assert response.status_code == 403
    await site.expect_line("WARNING channels.handshake", "the Origin 'https://bad.example'")


@pytest.mark.slow
async def test_a_browser_that_does_not_read(site: Site, flavour):
    """It is let go after ``send_timeout``, and takes no memory until then."""
    before = site.server.resident_bytes()
    key = site.key()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    path = f"/consumer/events/{flavour}/?key={key}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.server.port}\r\n\r\n".encode())
    assert await reader.readuntil(b"hello")
    writer.transport.pause_reading()
    await tell(site, f"events.{key}", type="event.pour")
    await site.events.wait(key, "pouring")
    while not site.events.of(key, "disconnect"):
        assert site.server.resident_bytes() - before < 32 * MEBIBYTE
        await asyncio.sleep(0.05)
    await site.expect_line("WARNING channels.consumer", "the client has not read for")
    writer.transport.abort()


async def test_over_http2(site: Site, flavour):
    if not site.can.http2:
        pytest.skip(f"{site.server.kind.package} speaks no HTTP/2 without TLS")
    key = site.key()
    async with Http2Connection("127.0.0.1", site.server.port) as connection:
        stream = await connection.get(f"/consumer/events/{flavour}/?key={key}")
        assert stream.status == 200
        await connection.until(lambda: b"hello" in stream.body)
        await tell(site, type="event.said", content="over h2")
        await connection.until(lambda: b'"over h2"' in stream.body)
    await site.events.wait(key, "disconnect", SOON)


async def test_streams_end_when_the_process_does(start: Start, flavour):
    with start() as (server, directory):
        site = Site(server, directory)
        async with site.http, listening(site, flavour, key := site.key()) as events:
            server.terminate()
            await events.expect_end()
            await site.events.wait(key, "disconnect")
        server.wait()


async def test_a_view_that_streams_a_group(site: Site):
    async with site.http.stream("GET", f"{site.root}/news/") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        events = Events(response)
        async with asyncio.timeout(10):
            while (await site.state())["groups"].get("events") != 1:
                await asyncio.sleep(0.01)
        await tell(site, type="event.said", content="ü\n")
        event = await events.next()
        assert (event["event"], json.loads(event["data"])) == ("event.said", {"content": "ü\n"})


async def test_a_view_that_streams_ends_when_the_process_does(start: Start):
    with start() as (server, directory):
        site = Site(server, directory)
        async with site.http, site.http.stream("GET", "/news/") as response:
            events = Events(response)
            await events.expect_beginning()
            server.terminate()
            await events.expect_end()
        server.wait()


@pytest.mark.parametrize("path", ["consumer/events/async", "consumer/events/sync", "news"])
async def test_ctrl_c_is_not_held_up_by_a_stream(start: Start, path):
    """Servers wait for responses to end, and these never would."""
    with start() as (server, directory):
        site = Site(server, directory)
        async with site.http, site.http.stream("GET", f"/{path}/", params={"key": "k"}) as response:
            events = Events(response)
            await events.expect_beginning()
            server.process.send_signal(signal.SIGINT)
            with contextlib.suppress(httpx.TransportError):
                async for _ in events.lines:
                    pass
        server.wait()
        assert "graceful shutdown exceeded" not in server.output, "as uvicorn says it"


# WebSockets over events


class Fallback(Events):
    """Does what the browser client does where WebSockets are blocked."""

    def __init__(self, site: Site, url: str, response: httpx.Response) -> None:
        super().__init__(response)
        self._site, self._url = site, url
        self.id = self.protocol = ""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, site: Site, path: str, key: str, *protocols: str, **headers: str
    ) -> AsyncIterator[Self]:
        url = site.url(path, key).replace(site.server.ws_url, "")
        content = {"protocols": protocols}
        headers = {"content-type": TYPE, "accept": "text/event-stream"} | headers
        async with site.http.stream("POST", url, json=content, headers=headers) as response:
            self = cls(site, url, response)
            if response.status_code == 200:
                opened = await self.next()
                assert opened["event"] == "open"
                self.id, self.protocol = json.loads(opened["data"]).values()
            yield self

    async def recv(self) -> Any:
        """The next frame, or the close."""
        event = await self.next()
        content = json.loads(event["data"])
        return base64.b64decode(content) if event.get("event") == "binary" else content

    async def send(self, *frames: str | bytes, **more: Any) -> int:
        """Send frames in one request; the status of its answer."""
        content = [
            {"text": frame}
            if isinstance(frame, str)
            else {"bytes": base64.b64encode(frame).decode()}
            for frame in frames
        ]
        return await self.post(json.dumps({"id": self.id, "frames": content, **more}).encode())

    async def post(self, content: bytes) -> int:
        """Send a request; the status of its answer."""
        headers = {"content-type": TYPE}
        return (await self._site.http.post(self._url, content=content, headers=headers)).status_code


async def test_a_websocket_over_events(site: Site, flavour):
    key = site.key()
    async with Fallback.connect(site, f"{flavour}/", key, "one", "two") as client:
        assert client.protocol == "two"
        assert await client.send("hello", b"\x00\xff", "", "ü\r\n\u2028") == 204
        assert [await client.recv() for _ in range(4)] == ["hello", b"\x00\xff", "", "ü\r\n\u2028"]
        await client.send("!close 4001 because")
        assert await client.recv() == {"code": 4001, "reason": "because"}
        await client.expect_end()
    assert (await site.events.wait(key, "disconnect", SOON))["code"] == 4001


async def test_a_client_over_events_closes(site: Site, flavour):
    key = site.key()
    async with Fallback.connect(site, f"{flavour}/", key) as client:
        await client.send("last words")
        assert await client.recv() == "last words"
        await client.send(close={"code": 3500, "reason": "enough"})
        event = await site.events.wait(key, "disconnect", SOON)
        assert (event["code"], event["reason"]) == (3500, "enough")
        await client.expect_end()


async def test_a_client_over_events_leaves(site: Site, flavour):
    key = site.key()
    async with Fallback.connect(site, f"{flavour}/", key):
        pass
    assert (await site.events.wait(key, "disconnect", SOON))["code"] == 1006


@pytest.mark.parametrize(
    ("path", "status"), [("{}/?connect=deny", 403), ("nowhere/", 404), ("origin/", 403)]
)
async def test_a_client_over_events_is_refused(site: Site, flavour, path, status):
    site.tolerated.append("WARNING channels.handshake: Refused websocket")
    key = site.key()
    headers = {"origin": "http://bad.example"}
    async with Fallback.connect(site, path.format(flavour), key, **headers) as client:
        assert client.response.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"protocols": 1}',
        b'{"protocols": [1]}',
        b'{"id": null}',
        b'{"id": "rubbish"}',
        b'{"id": {}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
async def test_rubbish_over_events(site: Site, body):
    url = site.url("async/", site.key()).replace(site.server.ws_url, "")
    response = await site.http.post(url, content=body, headers={"content-type": TYPE})
    assert response.status_code == 400


@pytest.mark.parametrize(
    "content",
    [
        {"frames": [{}]},
        {"frames": ["text"]},
        {"frames": [{"text": 1}]},
        b'{"id": "%s", "frames": [{"text": "\\ud800"}]}',
        {"frames": [{"bytes": "no base64!"}]},
        {"frames": {"text": "x"}},
        {"frames": 1},
        {"close": 1},
        {"close": {"code": "1000"}},
        {"close": {"code": 99999}},
        {"close": {"code": True}},
    ],
)
async def test_rubbish_of_a_client_over_events(site: Site, content):
    key = site.key()
    async with Fallback.connect(site, "async/", key) as client:
        if isinstance(content, bytes):
            assert await client.post(content % client.id.encode()) == 400
        else:
            assert await client.send(**content) == 400
        assert await client.send("still there") == 204
        assert await client.recv() == "still there"
    await site.events.wait(key, "disconnect", SOON)


async def test_a_client_over_events_that_sends_too_fast_is_told_to_wait(site: Site):
    key = site.key()
    async with Fallback.connect(site, "async/", key) as client:
        await client.send("!wait")
        await site.events.wait(key, "waiting")
        statuses = [await client.send(str(number)) for number in range(150)]
        accepted = statuses.count(204)
        assert statuses == [204] * accepted + [503] * (150 - accepted)
        assert accepted >= 100
        await site.open_gate(key)
        assert [await client.recv() for _ in range(accepted)] == [str(n) for n in range(accepted)]
    await site.events.wait(key, "disconnect", SOON)


async def test_clients_over_events_are_told_that_the_process_ends(start: Start, flavour):
    with start() as (server, directory):
        site = Site(server, directory)
        key = site.key()
        async with site.http, Fallback.connect(site, f"{flavour}/", key) as client:
            server.terminate()
            assert (await client.recv())["code"] == 1012
            await client.expect_end()
            assert (await site.events.wait(key, "disconnect"))["code"] == 1012
        server.wait()
