"""ChannelsLiveServerTestCase with real browsers: what the documentation shows, to the letter."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.docs.markdown import blocks_of
from tests.docs.project import Project

from .conftest import find_chromium

pytestmark = [pytest.mark.e2e, pytest.mark.server]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "test-with-a-browser.md"
SETTINGS = """
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
"""

# How many projects drive Playwright: synchronously, with one browser for a class of tests. Its
# event loop runs in the thread of the test from the first test to the last.
SYNCHRONOUS = """
import os

from django.contrib.auth.models import User
from playwright.sync_api import expect, sync_playwright

from channels.testing import ChannelsLiveServerTestCase

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


class SynchronousTests(ChannelsLiveServerTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        playwright = cls.enterClassContext(sync_playwright())
        browser = cls.enterClassContext(playwright.chromium.launch())
        cls.page = browser.new_page()

    def greet(self, name):
        assert not User.objects.exists()
        self.client.force_login(User.objects.create_user(name))
        session = self.client.cookies["sessionid"].value
        cookie = {"name": "sessionid", "value": session, "url": self.live_server_url}
        self.page.context.add_cookies([cookie])
        self.page.goto(self.live_server_url)
        expect(self.page.locator("#notices li")).to_have_text([f"Hello {name}"])

    def test_1_greets_and_leaves_the_page_open(self):
        self.greet("dora")
        self.page.evaluate("() => { socket.onclose = (event) => { window.code = event.code } }")

    def test_2_finds_the_socket_of_the_page_closed(self):
        self.page.wait_for_function("window.code === 1012")
        self.greet("emil")
"""


def unavailable(what: str) -> None:
    """Skip, saying why; but fail where ``CI`` is set."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def chromium() -> str:
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
    if path is None:
        unavailable("no Chromium: install it, set CHROMIUM_PATH, or run `playwright install`")
    return path


@pytest.fixture
def selenium_driver() -> str:
    path = shutil.which("chromedriver")
    if path is None:
        unavailable("no chromedriver: install the package chromium-driver")
    return path


@pytest.fixture(params=["memory", "file"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """The site of the page, without its tests; tests use SQLite in memory or in a file."""
    project = Project(tmp_path)
    project.run("django-admin startproject mysite .")
    project.run("python manage.py startapp chat")
    file = tmp_path / "mysite" / "settings.py"
    settings = file.read_text("utf-8")
    settings = settings.replace("INSTALLED_APPS = [", "INSTALLED_APPS = ['channels', 'chat',")
    if request.param == "file":
        settings += "\nDATABASES['default']['TEST'] = {'NAME': BASE_DIR / 'test.sqlite3'}\n"
    file.write_text(settings + SETTINGS, "utf-8")
    for block in blocks_of(PAGE):
        if block.mark == "file" and not block.text.startswith("chat/test_"):
            project.write(block)
    return project


def code_of(name: str) -> str:
    (block,) = (block for block in blocks_of(PAGE) if block.text == name)
    return block.code


def run(project: Project, code: str, *edits: tuple[str, str]) -> str:
    """Run a file of tests, edited for what this machine needs and readers do not."""
    for old, new in edits:
        assert old in code
        code = code.replace(old, new)
    (project.folder / "chat" / "test_page.py").write_text(code, "utf-8")
    output = project.run("python manage.py test chat.test_page")
    assert "Warning" not in output, output
    return output


def launching(chromium: str) -> tuple[str, str]:
    return "launch()", f"launch(executable_path={chromium!r}, args=['--no-sandbox'])"


def test_playwright(project: Project, chromium: str) -> None:
    code = code_of("chat/test_playwright.py")
    assert "Ran 1 test" in run(project, code, launching(chromium))


def test_playwright_s_synchronous_interface(project: Project, chromium: str) -> None:
    assert "Ran 2 tests" in run(project, SYNCHRONOUS, launching(chromium))


def test_selenium(
    project: Project, chromium: str, selenium_driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SE_OFFLINE", "true")  # Selenium would look for newer drivers, and report
    monkeypatch.setenv("SE_AVOID_STATS", "true")
    headless = 'options.add_argument("--headless=new")'
    options = (
        f"{headless}; options.add_argument('--no-sandbox'); options.binary_location = {chromium!r}"
    )
    service = f"webdriver.Chrome(options, webdriver.ChromeService({selenium_driver!r}))"
    edits = [(headless, options), ("webdriver.Chrome(options)", service)]
    assert "Ran 2 tests" in run(project, code_of("chat/test_selenium.py"), *edits)
