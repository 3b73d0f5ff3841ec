"""Every Python example of the documentation and the README runs."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ..brokers import running
from ..ports import free_port
from .markdown import blocks_of
from .project import DEADLINE, READER_DOES, Project, Server

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial"
README = ROOT / "README.md"

ALL_PAGES = [
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
]
PAGES_IN_A_PROJECT = [
    page
    for page in ALL_PAGES
    if page.parent != TUTORIAL
    and page != README
    and any(block.language in ("python", "pycon") for block in blocks_of(page))
]
LANGUAGES = {"python", "pycon", "console", "diff", "html", "javascript", "text", "toml", "nginx"}
EXCUSED_AT_MOST = 3
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class TestBlocks:
    @pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
    def test_each_block_says_a_language_that_the_tests_know(self, page: Path) -> None:
        assert {block.language for block in blocks_of(page)} <= LANGUAGES

    def test_few_blocks_are_not_executed_and_each_says_why(self) -> None:
        excused = [
            block for page in ALL_PAGES for block in blocks_of(page) if block.mark == "not executed"
        ]
        assert len(excused) <= EXCUSED_AT_MOST, [str(block) for block in excused]
        assert all(len(block.text.split()) >= 4 for block in excused)

    @pytest.mark.parametrize("page", sorted(TUTORIAL.glob("*.md")), ids=name_of)
    def test_python_in_the_tutorial_is_part_of_a_file(self, page: Path) -> None:
        loose = [
            str(block)
            for block in blocks_of(page)
            if block.language == "python" and block.mark not in ("file", "append")
        ]
        assert loose == []

    def test_extras_that_pages_install_exist(self) -> None:
        pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
        for page in ALL_PAGES:
            for block in blocks_of(page):
                for extra in extras_in(block.code if block.language == "console" else ""):
                    assert f"\n{extra} = [" in pyproject, f"{block}: {extra}"

    @pytest.mark.parametrize("page", [*ALL_PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
    def test_links_to_files_lead_to_files(self, page: Path) -> None:
        targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
        assert [target for target in targets if not (page.parent / target).exists()] == []

    def test_targets_of_make_exist(self) -> None:
        makefile = (ROOT / "Makefile").read_text("utf-8")
        for page in (README, ROOT / "CONTRIBUTING.md"):
            for target in re.findall(r"\bmake ([a-z0-9]+)\b", page.read_text("utf-8")):
                assert f"\n{target}:" in makefile, f"{page}: make {target}"

    def test_options_of_uvicorn_exist(self, tmp_path: Path) -> None:
        usage = Project(tmp_path).run("python -m uvicorn --help")
        deploy = (DOCS / "howto" / "deploy.md").read_text("utf-8")
        options = set(re.findall(r"--(?:workers|timeout|ws|limit)[a-z-]*", deploy))
        assert len(options) >= 5
        assert [option for option in options if option not in usage] == []


@pytest.mark.parametrize("page", PAGES_IN_A_PROJECT, ids=name_of)
def test_page(
    page: Path,
    run_page: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    with ExitStack() as stack:
        if "RABBITMQ_URL" in page.read_text("utf-8"):
            monkeypatch.setenv("RABBITMQ_URL", request.getfixturevalue("rabbitmq").url)
        if "REDIS_URL" in page.read_text("utf-8"):
            monkeypatch.setenv("REDIS_URL", stack.enter_context(running()).url)
        assert "Traceback" not in run_page(page)


@pytest.mark.server
class TestTutorial:
    """Each part is followed to the letter, on top of the parts before it."""

    def begin(self, part: int, folder: Path) -> Project:
        project = Project(folder)
        for earlier in range(1, part):
            for _ in project.follow(TUTORIAL / f"part_{earlier}.md"):
                pass
        return project

    def test_part_1_serves_pages_and_refuses_the_socket(self, tmp_path: Path) -> None:
        project = self.begin(1, tmp_path)
        (command,) = project.follow(TUTORIAL / "part_1.md")
        with project.serve(command) as server:
            assert "Which room?" in page_at(server, "/chat/")
            assert "/ws/chat/" in page_at(server, "/chat/kitchen/")
            with pytest.raises(InvalidStatus) as refused:
                enter(server, "kitchen")
            assert refused.value.response.status_code in (403, 404)
            server.wait_for_log("/ws/chat/kitchen/")
            assert "Traceback" not in server.log.read_text()

    def test_part_2_echoes_and_then_connects_a_room(self, tmp_path: Path) -> None:
        project = self.begin(2, tmp_path)
        servers = project.follow(TUTORIAL / "part_2.md")
        with project.serve(next(servers)) as server, ExitStack() as stack:
            anna, ben = (stack.enter_context(enter(server, "kitchen")) for _ in range(2))
            say(anna, "Hello")
            assert hears(anna) == {"author": "guest", "text": "Hello"}
            assert hears_nothing(ben)
        with project.serve(next(servers)) as server:
            chat_works(server)
            misbehaviour_is_answered(server)
        assert next(servers, None) is None

    def test_part_3_does_the_same(self, tmp_path: Path) -> None:
        project = self.begin(3, tmp_path)
        (command,) = project.follow(TUTORIAL / "part_3.md")
        assert "async def receive_json" in (project.folder / "chat/consumers.py").read_text()
        with project.serve(command) as server:
            chat_works(server)
            misbehaviour_is_answered(server)

    def test_part_4_passes_its_own_tests(self, tmp_path: Path) -> None:
        project = self.begin(4, tmp_path)
        blocks = {block.text: block for block in blocks_of(TUTORIAL / "part_4.md") if block.text}
        project.write(blocks["chat/tests.py"])
        assert "Ran 4 tests" in project.run("python manage.py test")

    @pytest.mark.e2e
    def test_part_4_passes_its_own_browser_test(self, tmp_path: Path) -> None:
        project = self.begin(4, tmp_path)
        chromium = find_chromium()
        blocks = {block.text: block for block in blocks_of(TUTORIAL / "part_4.md") if block.text}
        project.write(blocks["mysite/settings.py"])
        project.write(blocks["chat/test_browser.py"])
        # A reader has let Playwright install its own browser; this machine may have another one.
        file = project.folder / "chat/test_browser.py"
        launch = f"launch(executable_path={chromium!r}, args=['--no-sandbox'])"
        file.write_text(file.read_text("utf-8").replace("launch()", launch), "utf-8")
        assert "Ran 1 test" in project.run("python manage.py test chat.test_browser")

    @pytest.mark.e2e
    def test_the_page_of_a_room_survives_a_restart_of_the_server(self, tmp_path: Path) -> None:
        playwright = pytest.importorskip("playwright.sync_api")
        project = self.begin(3, tmp_path)
        (command,) = project.follow(TUTORIAL / "part_3.md")
        port, chromium = free_port(), find_chromium()
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            status, lines = page.locator("#status"), page.locator("#messages li")
            with project.serve(command, port) as server:
                page.goto(f"{server.http}/chat/kitchen/")
                playwright.expect(status).to_have_text("Connected", timeout=30_000)
                speak(page, "Before")
                playwright.expect(lines).to_have_text(["guest: Before"], timeout=30_000)
            playwright.expect(status).to_have_text("Disconnected", timeout=30_000)
            speak(page, "Meanwhile")
            with project.serve(command, port):
                playwright.expect(status).to_have_text("Connected", timeout=60_000)
                speak(page, "After")
                playwright.expect(lines).to_have_text(
                    ["guest: Before", "guest: Meanwhile", "guest: After"], timeout=30_000
                )
            browser.close()

    def test_its_commands_are_those_the_tests_run(self) -> None:
        commands = {
            line.removeprefix("$ ")
            for page in TUTORIAL.glob("*.md")
            for block in blocks_of(page)
            if block.language == "console"
            for line in block.code.splitlines()
        }
        left_to_the_reader = {line for line in commands if line.startswith(READER_DOES)}
        assert left_to_the_reader == {
            "python -m pip install playwright",
            "python -m playwright install chromium",
        }


@pytest.mark.server
class TestReadme:
    def test_the_example_is_a_whole_chat(self, tmp_path: Path) -> None:
        project = Project(tmp_path)
        (command,) = project.follow(README)
        with project.serve(command) as server:
            assert "<form" in page_at(server, "/")
            with pytest.raises(HTTPError, match="404"):
                page_at(server, "/favicon.ico")  # as browsers do
            with ExitStack() as stack:
                anna, ben = (
                    stack.enter_context(connect(f"{server.ws}/ws/", origin=server.http))
                    for _ in range(2)
                )
                anna.send("Soup is ready")
                assert ben.recv(timeout=20) == "Soup is ready"
                assert anna.recv(timeout=20) == "Soup is ready"
            assert "Traceback" not in server.log.read_text()

    def test_the_example_is_as_short_as_it_says(self) -> None:
        (example,) = (block for block in blocks_of(README) if block.language == "python")
        lines = [line for line in example.code.splitlines() if line.strip()]
        assert "31 lines" in README.read_text("utf-8")
        assert len(lines) <= 31

    def test_it_starts_with_the_two_commands(self) -> None:
        first = blocks_of(README)[0]
        assert first.code.split("\n")[:2] == ["make demo", "make test"]
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert "\ndemo:" in makefile
        assert "\ntest:" in makefile


def test_pages_build_without_warnings(tmp_path: Path) -> None:
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason="`make docs` installs it and builds the pages as well")
    # Warnings of Sphinx about the pages are errors; those of Python about Sphinx are not.
    sphinx = f"python -W default -m sphinx -q -W -b html -d {tmp_path / 'trees'}"
    Project(tmp_path).run(f"{sphinx} {DOCS} {tmp_path / 'html'}", deadline=DEADLINE * 10)
    assert (tmp_path / "html" / "index.html").exists()


def find_chromium() -> str:
    """A Chromium of this machine. Without one the test is skipped, but fails where CI is set."""
    candidates = (os.environ.get("CHROMIUM_PATH"), *map(shutil.which, CHROMIUMS))
    found = next((path for path in candidates if path), None)
    if found is None:
        missing = "no Chromium: install it or set CHROMIUM_PATH"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return found


def speak(page: Any, text: str) -> None:
    """Type ``text`` into the page of a room, and send it."""
    page.fill("[name=text]", text)
    page.click("button")


def enter(server: Server, room: str) -> ClientConnection:
    return connect(f"{server.ws}/ws/chat/{room}/", origin=server.http)


def say(person: ClientConnection, text: str) -> None:
    person.send(json.dumps({"text": text}))


def hears(person: ClientConnection) -> object:
    return json.loads(person.recv(timeout=20))


def hears_nothing(person: ClientConnection) -> bool:
    with pytest.raises(TimeoutError):
        person.recv(timeout=0.2)
    return True


def page_at(server: Server, path: str) -> str:
    with urlopen(server.http + path, timeout=20) as response:
        text: str = response.read().decode()
        return text


def chat_works(server: Server) -> None:
    """Two people in one room hear each other; a third, in another room, hears nothing."""
    with ExitStack() as stack:
        anna, ben = (stack.enter_context(enter(server, "kitchen")) for _ in range(2))
        carl = stack.enter_context(enter(server, "garden"))
        for speaker, text in ((anna, "Soup is ready"), (ben, "Coming")):
            say(speaker, text)
            for listener in (anna, ben):
                assert hears(listener) == {"author": "guest", "text": text}
        assert hears_nothing(carl)


def misbehaviour_is_answered(server: Server) -> None:
    """What part 2 says about clients that misbehave, and about other sites."""
    for sent, code in (("no JSON", 1007), ("{}", 1011)):
        with enter(server, "kitchen") as person:
            person.send(sent)
            with pytest.raises(ConnectionClosedError) as closed:
                person.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{server.ws}/ws/chat/kitchen/", origin="http://elsewhere.example"),
    ):
        pass
    assert refused.value.response.status_code == 403
    assert server.log.read_text().count("Traceback (most recent call last)") == 1


def extras_in(code: str) -> list[str]:
    """The extras of this distribution that a console block installs."""
    return [
        extra.strip()
        for line in code.splitlines()
        if "pip install" in line
        for extras in re.findall(r"(?:channels|\.)\[([a-z, -]+)\]", line)
        for extra in extras.split(",")
    ]
