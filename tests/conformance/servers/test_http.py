"""HTTP consumers: answers, streams and long polls, and clients that do not wait for the end."""

from urllib.parse import quote

import httpx
import pytest

from .site import Site

pytestmark = pytest.mark.server

SOON = 1.0  # seconds


@pytest.mark.parametrize("size", [0, 10, 2**20])
async def test_a_response(site: Site, size):
    body = bytes(number % 251 for number in range(size))
    key = site.key()
    response = await site.http.post("/consumer/answer/", params={"key": key}, content=body)
    assert (response.status_code, response.headers["content-type"]) == (201, "text/plain")
    assert response.content == body[::-1]
    await site.events.wait(key, "disconnect", SOON)


@pytest.mark.parametrize(
    "place", ["plain", "Zürich", "东京/🙂", "with space", "100%", "a+b", "q?m"]
)
async def test_paths_are_decoded(site: Site, place):
    response = await site.http.get(f"/consumer/at/{quote(place)}/", params={"key": site.key()})
    path = f"/consumer/at/{place}/"
    assert response.json() == {"path": path, "root_path": "", "place": place}


async def test_several_requests_on_one_connection(site: Site):
    for _ in range(3):
        response = await site.http.post(
            "/consumer/answer/", params={"key": site.key()}, content=b"ab"
        )
        assert response.content == b"ba"


async def test_a_crash(site: Site):
    key = site.key()
    response = await site.http.get("/consumer/crash/", params={"key": key})
    assert response.status_code == 500
    assert "in handle" not in response.text
    await site.expect_crash("Crash", "/consumer/crash/", "RuntimeError: in handle")
    await site.events.wait(key, "disconnect", SOON)


async def test_a_crash_in_the_middle_of_a_response(site: Site):
    """The client does not take what it has got for the whole, nor wait for more."""
    # uvicorn says so about a response without an end.
    site.tolerated.append("ASGI callable returned without completing response")
    key = site.key()
    path = "/consumer/crash/"
    async with site.http.stream("GET", path, params={"key": key, "begun": "1"}) as response:
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
    await site.expect_crash("Crash", path, "RuntimeError: in handle")
    await site.events.wait(key, "disconnect", SOON)


async def test_django_serves_the_rest(site: Site):
    assert (await site.http.get("/nowhere/")).status_code == 404
    await site.expect_line("WARNING django.request: Not Found: /nowhere/")


async def test_a_stream_to_its_end(site: Site):
    key = site.key()
    response = await site.http.get("/consumer/stream/", params={"key": key, "parts": 5})
    assert response.text == "".join(f"part {number}\n" for number in range(1, 6))
    await site.events.wait(key, "disconnect", SOON)


async def test_leaving_a_stream(site: Site):
    key = site.key()
    async with site.http.stream("GET", "/consumer/stream/", params={"key": key}) as response:
        parts = response.aiter_lines()
        assert [await anext(parts) for _ in range(3)] == ["part 1", "part 2", "part 3"]
    await site.events.wait(key, "disconnect", SOON)
    await site.expect_line("Stream at /consumer/stream/: the handler of http.request was still")


async def test_a_long_poll(site: Site):
    key = site.key()
    async with site.http.stream("GET", "/consumer/poll/", params={"key": key}) as response:
        parts = response.aiter_lines()
        assert await anext(parts) == "waiting"
        await site.http.post("/consumer/poll/", params={"key": site.key()}, content=b"news")
        assert [part async for part in parts] == ["news"]
    await site.events.wait(key, "disconnect", SOON)


async def test_leaving_a_long_poll(site: Site):
    key = site.key()
    async with site.http.stream("GET", "/consumer/poll/", params={"key": key}) as response:
        parts = response.aiter_lines()
        assert await anext(parts) == "waiting"
        assert (await site.state())["groups"] == {"pollers": 1}
    await site.events.wait(key, "disconnect", SOON)
