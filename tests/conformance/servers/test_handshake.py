"""Being let in, being refused, and what the application learns about its client."""

import asyncio
import json
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from .site import Client, Site

pytestmark = pytest.mark.server


async def described(client: Client) -> dict:
    await client.send("!describe")
    return json.loads(await client.recv())


async def refusal(site: Site, path: str, **options) -> Response:
    with pytest.raises(InvalidStatus) as caught:
        await site.connect(path, **options)
    return caught.value.response


async def refused(site: Site, path: str, **options) -> int:
    return (await refusal(site, path, **options)).status_code


async def test_the_last_offered_subprotocol_is_chosen(site, flavour):
    async with await site.connect(f"{flavour}/", subprotocols=["one", "two"]) as client:
        assert client.subprotocol == "two"


async def test_no_subprotocol(site, flavour):
    async with await site.connect(f"{flavour}/") as client:
        assert client.subprotocol is None


async def test_headers_of_accept(site, flavour):
    async with await site.connect(f"{flavour}/") as client:
        expected = "hello" if site.can.accept_headers else None
        assert client.response.headers.get("x-greeting") == expected


@pytest.mark.parametrize("how", ["refuse", "deny"])
async def test_refused_by_connect(site, flavour, how):
    key = site.key()
    assert await refused(site, f"{flavour}/", key=key, query={"connect": how}) == 403
    await site.events.wait(key, "disconnect")


async def test_a_crash_in_connect(site, flavour, actor):
    key = site.key()
    status = await refused(site, f"{flavour}/", key=key, query={"connect": "crash"})
    assert status == (500 if site.can.denial_response else 403)
    await site.events.wait(key, "disconnect")
    await site.expect_crash(actor, f"/ws/{flavour}/", "tests.realapp.websockets.DeliberateError")


async def test_an_unknown_path(site):
    response = await refusal(site, "nowhere/")
    assert response.status_code == (404 if site.can.denial_response else 403)
    assert (response.body == b"Not Found") is site.can.denial_response
    await site.expect_line("Refused websocket /ws/nowhere/: No route found", "[404]")


async def test_the_right_origin(site):
    async with await site.connect("origin/", origin="http://good.example") as client:
        await client.send("hello")
        assert await client.recv() == "hello"


@pytest.mark.parametrize(
    "origin", [None, "http://evil.example", "http://good.example.evil.example", "null"]
)
async def test_wrong_origins(site, origin):
    assert await refused(site, "origin/", origin=origin) == 403
    await site.expect_line("Refused websocket /ws/origin/:", "Origin", "[403]")


async def test_the_query_string_comes_as_it_was_sent(site, flavour):
    query = "a=1&a=2&b=%C3%BC%20%26&c="
    async with await site.connect(f"{flavour}/?{query}") as client:
        assert (await described(client))["query_string"] == f"{query}&key={client.key}"


@pytest.mark.parametrize(
    "place", ["plain", "Zürich", "东京/🙂", "with space", "100%", "a+b", "semi;colon", "q?mark"]
)
async def test_paths_are_decoded(site, place):
    async with await site.connect(f"async/at/{quote(place)}/") as client:
        scope = await described(client)
    assert scope["path"] == f"/ws/async/at/{place}/"
    assert scope["place"] == place


@pytest.mark.parametrize(
    "cookie",
    [
        "=; ;;; =x; sessionid",
        'sessionid="unclosed; other=1',
        "sessionid=" + "x" * 4000,
        "sessionid=../../etc/passwd; a=\\777",
    ],
)
async def test_cookies_full_of_rubbish(site, cookie):
    headers = {"Cookie": cookie}
    async with await site.connect("async/auth/", additional_headers=headers) as client:
        assert (await described(client))["user"] == "AnonymousUser"


async def test_headers_full_of_rubbish(site):
    headers = [("X-Rubbish", '%00 {}[]()<>@,;:\\"/?='), ("X-Twice", "1"), ("X-Twice", "2")]
    async with await site.connect("async/auth/", additional_headers=headers) as client:
        scope = await described(client)
    assert ["x-rubbish", headers[0][1]] in scope["headers"]


@pytest.mark.parametrize(
    "header", [b"X-Rubbish: \xff\xfe\x80", b"Cookie: sessionid=\xff\xfe; \xe9=\xe9", b"Cookie:"]
)
async def test_bytes_outside_of_ascii_in_headers(site, header):
    key = site.key()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(site.handshake("async/auth/", key, header))
    status = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert status.startswith(b"HTTP/1.1 101")
    await site.events.wait(key, "disconnect")


@pytest.mark.parametrize("how", ["nothing", "linger"])
async def test_a_handshake_that_is_never_answered(site: Site, flavour, how):
    """The application ends it after ``handshake_timeout``, whatever the server would do."""
    key = site.key()
    with pytest.raises(InvalidStatus) as refused:
        await site.connect(f"{flavour}/impatient/", key=key, query={"connect": how})
    assert refused.value.response.status_code == (503 if site.can.denial_response else 403)
    await site.expect_line(
        "ERROR channels.handshake",
        f"Refused websocket /ws/{flavour}/impatient/",
        f"{flavour.capitalize()}Impatient has neither accepted nor closed it within 1 s",
    )
    if how == "linger" and flavour == "sync":  # its thread cannot be stopped
        await site.open_gate(key)
    await site.events.wait(key, "disconnect")
