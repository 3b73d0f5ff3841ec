"""The browser client in a browser: the events that only browsers have, and real networks."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.proxy import Blocker, Proxy
from tests.servers import SERVERS, RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.server]

QUICK = {"minDelay": 50, "maxDelay": 400, "spread": 200, "connectTimeout": 3000}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of its own, which the test may kill."""
    kind = SERVERS["uvicorn"]
    log = tmp_path / "server.log"
    with RunningServer(kind, "tests.client.asgi:application", log=log, env={}) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


async def visit(page: Page, at: RunningServer | Proxy, **options: Any) -> None:
    """Open the page, whose socket has these options."""
    query = urlencode({"options": json.dumps(QUICK | options)})
    await page.goto(f"http://127.0.0.1:{at.port}/?{query}")


async def send(page: Page, data: str) -> None:
    await page.evaluate("data => socket.send(data)", data)


async def expect_line(page: Page, line: str, count: int = 1) -> None:
    """Wait until the page has logged this, so many times at least."""
    lines = page.locator("#log li").get_by_text(line, exact=True)
    await expect(lines.nth(count - 1)).to_be_visible(timeout=20_000)


async def test_a_page_that_would_use_a_websocket(page: Page, server: RunningServer) -> None:
    await visit(page, server)
    await expect_line(page, "open websocket")
    await send(page, "hello")
    await expect_line(page, "message echo hello")
    assert await page.evaluate("socket.url") == f"{server.ws_url}/ws/echo/"
    assert await page.evaluate("socket.readyState === WebSocket.OPEN")


async def test_the_server_is_killed_and_comes_back(page: Page, server: RunningServer) -> None:
    await visit(page, server)
    await expect_line(page, "open websocket")
    server.kill()
    await expect_line(page, "close 1006")
    await send(page, "meanwhile")
    server.start()
    await expect_line(page, "message echo meanwhile")


async def test_the_server_restarts(page: Page, server: RunningServer) -> None:
    await visit(page, server)
    await expect_line(page, "open websocket")
    server.stop()
    await expect_line(page, "close 1012")
    server.start()
    await expect_line(page, "open websocket", 2)


async def test_a_proxy_that_refuses_upgrades(page: Page, server: RunningServer) -> None:
    async with Blocker(("127.0.0.1", server.port)) as proxy:
        await visit(page, proxy)
        await expect_line(page, "open sse")
        await send(page, "through events")
        await expect_line(page, "message echo through events")
        assert await page.evaluate("socket.transport") == "sse"
        server.stop()
        await expect_line(page, "close 1012")
        server.start()
        await expect_line(page, "open sse", 2)


async def test_the_network_goes_and_comes_back(page: Page, server: RunningServer) -> None:
    async with Proxy(("127.0.0.1", server.port)) as proxy:
        await visit(page, proxy, minDelay=1_000_000, maxDelay=1_000_000, fallback=False)
        await expect_line(page, "open websocket")
        await page.context.set_offline(True)
        proxy.cut()
        await expect_line(page, "close 1006")
        await page.context.set_offline(False)
        await expect_line(page, "open websocket", 2)


async def test_a_link_that_has_died_is_noticed_when_somebody_looks_at_the_page(
    page: Page, server: RunningServer
) -> None:
    async with Proxy(("127.0.0.1", server.port)) as proxy:
        await visit(page, proxy, heartbeat=1_000_000, fallback=False)
        await expect_line(page, "open websocket")
        proxy.stall()
        # What a browser does when a tab comes to the front.
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect_line(page, "close 1006")
        proxy.flow()
        await expect_line(page, "open websocket", 2)


async def test_a_page_that_goes_closes_its_socket(page: Page, server: RunningServer) -> None:
    await visit(page, server)
    await expect_line(page, "open websocket")
    await page.goto("about:blank")
    await page.go_back()
    await expect_line(page, "open websocket")
    await send(page, "again")
    await expect_line(page, "message echo again")
