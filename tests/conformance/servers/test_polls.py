"""Long polls: a client that asks again and again, and misses nothing in between."""

import asyncio
from typing import Any

import httpx
import pytest

from .site import Site
from .test_events import tell

pytestmark = pytest.mark.server

SOON = 1.0  # seconds


class Poller:
    """A client of the long poll."""

    def __init__(self, site: Site, flavour: str, key: str) -> None:
        self._site = site
        self._url = f"{site.root}/consumer/polled/{flavour}/"
        self._key = key
        self.cursor: str | None = None

    async def get(self, cursor: str | None = None) -> httpx.Response:
        """One request, with a cursor."""
        query = {"key": self._key} | ({} if cursor is None else {"cursor": cursor})
        return await self._site.http.get(self._url, params=query)

    async def poll(self) -> list[Any]:
        """What has come since the last poll."""
        response = await self.get(self.cursor)
        if response.status_code == 204:
            assert response.content == b""
            return []
        assert response.status_code == 200, response
        content = response.json()
        self.cursor = content["cursor"]
        return list(content["messages"])

    async def post(self, body: bytes) -> int:
        """Send something; the status."""
        query = {"key": self._key, "cursor": self.cursor or ""}
        return (await self._site.http.post(self._url, params=query, content=body)).status_code


async def test_what_comes_between_two_polls_is_there_at_the_next(site: Site, flavour):
    key = site.key()
    poller = Poller(site, flavour, key)
    assert await poller.poll() == []
    for number in range(3):
        await tell(site, type="event.said", content=number)
    got: list[Any] = []
    while len(got) < 3:
        got += await poller.poll()
    assert got == [0, 1, 2]
    assert (await site.events.wait(key, "disconnect"))["code"] == 1006


async def test_a_poll_is_answered_when_something_comes(site: Site, flavour):
    key = site.key()
    poller = Poller(site, flavour, key)
    await poller.poll()
    polling = asyncio.create_task(poller.poll())
    await asyncio.sleep(0.1)
    assert not polling.done()
    await tell(site, type="event.said", content={"text": "ü\n"})
    assert await polling == [{"text": "ü\n"}]
    await site.events.wait(key, "disconnect")


async def test_a_poll_for_which_there_is_nothing_is_answered_with_204(site: Site, flavour):
    key = site.key()
    poller = Poller(site, flavour, key)
    await poller.poll()
    cursor = poller.cursor
    assert await poller.poll() == []
    assert poller.cursor == cursor
    await tell(site, type="event.said", content="later")
    assert await poller.poll() == ["later"]
    await site.events.wait(key, "disconnect")


async def test_an_answer_that_was_lost_is_given_again(site: Site, flavour):
    key = site.key()
    poller = Poller(site, flavour, key)
    await poller.poll()
    await tell(site, type="event.said", content="once")
    lost = await poller.get(poller.cursor)
    assert lost.json()["messages"] == ["once"]
    await tell(site, type="event.said", content="twice")
    got: list[Any] = []
    while len(got) < 2:
        cursor = poller.cursor
        got = await poller.poll()
        if len(got) < 2:
            poller.cursor = cursor
    assert got == ["once", "twice"]
    await site.events.wait(key, "disconnect")


async def test_a_client_sends(site: Site, flavour):
    key = site.key()
    poller = Poller(site, flavour, key)
    await poller.poll()
    assert await poller.post(b'{"n": 1}') == 204
    assert await poller.poll() == [{"echo": {"n": 1}}]
    assert await poller.post(b"\xff") == 400
    await site.events.wait(key, "disconnect")


@pytest.mark.parametrize("cursor", ["x", "1:", "1:rubbish", "-1:x", "9" * 30 + ":x"])
async def test_a_cursor_that_is_none(site: Site, flavour, cursor):
    assert (await Poller(site, flavour, site.key()).get(cursor)).status_code == 400


async def test_a_client_that_comes_back_too_late_is_told_so(site: Site, flavour):
    key = site.key()
    poller = Poller(site, flavour, key)
    await poller.poll()
    await site.events.wait(key, "disconnect")
    assert (await poller.get(poller.cursor)).status_code == 410
