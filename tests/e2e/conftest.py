"""A real browser for the end-to-end tests."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, async_playwright

from .people import database, people, showcase, two_servers

__all__ = ["browser", "chromium", "database", "find_chromium", "people", "showcase", "two_servers"]

# Nothing here may call home, and a container has neither a GPU nor a sandbox.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium(playwright: Playwright) -> str | None:
    """The Chromium to drive: the one named, else the system's, else Playwright's own."""
    candidates = [
        os.environ.get("CHROMIUM_PATH"),
        *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")),
        playwright.chromium.executable_path,
    ]
    return next((path for path in candidates if path and Path(path).exists()), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the browser runs in the event loop that the browser lives in."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A headless Chromium. Without one the test is skipped, but fails where ``CI`` is set."""
    async with async_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            missing = "no Chromium: install it, set CHROMIUM_PATH, or run `playwright install`"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The Chromium of all tests, for a test that shares no window, cookie or cache with another."""
    yield chromium
    for context in chromium.contexts:
        await context.close()
