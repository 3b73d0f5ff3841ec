"""The showcase on a real server, and people with browsers of their own."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page

from tests.brokers import running as running_broker

from .servers import EXAMPLES, ServerProcess, manage

PROJECT = EXAMPLES / "showcase"
ROOT = EXAMPLES.parent
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the showcase has it at first, to be copied."""
    path = tmp_path_factory.mktemp("showcase") / "db.sqlite3"
    env = {"SHOWCASE_DATABASE": str(path)}
    manage(PROJECT, "migrate", "--verbosity=0", env=env)
    manage(PROJECT, "create_demo", env=env)
    return path


@pytest.fixture
def showcase(tmp_path: Path, database: Path) -> Iterator[ServerProcess]:
    """The showcase on ``runserver``, with the demo accounts."""
    env = {"SHOWCASE_DATABASE": shutil.copy(database, tmp_path)}
    command = ["manage.py", "runserver", "--noreload", "{port}"]
    with ServerProcess(command, cwd=PROJECT, log=tmp_path / "server.log", env=env) as server:
        yield server
    assert "Traceback" not in server.output, server.output


@pytest.fixture
def two_servers(tmp_path: Path, database: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two processes of the showcase that share a database and a Redis."""
    with running_broker() as broker, ExitStack() as stack:
        env = {
            "SHOWCASE_DATABASE": shutil.copy(database, tmp_path),
            "SHOWCASE_REDIS": broker.url,
        }
        command = ["manage.py", "runserver", "--noreload", "{port}"]
        first, second = (
            stack.enter_context(
                ServerProcess(command, cwd=PROJECT, log=tmp_path / f"{name}.log", env=env)
            )
            for name in ("first", "second")
        )
        yield first, second
    for server in (first, second):
        assert "Traceback" not in server.output, server.output


class People:
    """Opens a browser window of its own for each person, and notes what goes wrong in it."""

    def __init__(self, browser: Browser, site: ServerProcess) -> None:
        self.browser, self.site = browser, site
        self.errors: list[str] = []

    async def sign_in(
        self,
        name: str,
        path: str = "/",
        viewport: dict[str, int] = DESKTOP,
        scheme: str = "light",
    ) -> Page:
        """The page at ``path`` that ``name`` sees after signing in with one click."""
        context = await self.open_window(viewport, scheme)
        page = await context.new_page()
        await page.goto(f"{self.site.origin}/sign-in/?next={path}")
        await page.get_by_role("button", name=f"Continue as {name}").click()
        await page.wait_for_url(self.site.origin + path)
        return page

    async def open_window(self, viewport: dict[str, int], scheme: str = "light") -> BrowserContext:
        """A window that shares nothing with the others."""
        context = await self.browser.new_context(
            viewport=viewport, color_scheme=scheme, locale="en-GB", timezone_id="UTC"
        )
        context.on("weberror", lambda event: self.errors.append(str(event.error)))
        context.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        return context

    def forgive(self, words: str) -> None:
        """Forget what browsers had to complain about, such as a server that was away."""
        self.errors = [error for error in self.errors if words not in error]


@pytest_asyncio.fixture(loop_scope="session")
async def people(browser: Browser, showcase: ServerProcess) -> AsyncIterator[People]:
    people = People(browser, showcase)
    yield people
    assert people.errors == [], list(people.errors)


async def picture(page: Page, name: str, *, for_docs: bool = False) -> None:
    """Keep what ``page`` shows; with UPDATE_SCREENSHOTS set, the documentation's copy as well."""
    folders = [ROOT / "test-results"]
    if for_docs and os.environ.get("UPDATE_SCREENSHOTS"):
        folders.append(ROOT / "docs" / "_static")
    for folder in folders:
        await page.screenshot(path=folder / f"{name}.png")
