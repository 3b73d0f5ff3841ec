"""A real server with the site, on a database and a Redis that the tests may take away."""

import contextlib
import time

import httpx
import pytest

from channels.contrib.health import set_ready
from tests.ports import free_port
from tests.servers import SERVERS, RunningServer


class Site:
    """The running site."""

    def __init__(self, server, directory):
        self.server = server
        self.directory = directory
        self.url = f"http://127.0.0.1:{server.port}"
        self.ws_url = f"ws://127.0.0.1:{server.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=20)

    def get(self, path, **options):
        return self.http.get(path, **options)

    def until(self, path, condition, deadline=20.0):
        """Ask until the answer is as expected, and return it."""
        end = time.monotonic() + deadline
        while not condition(response := self.get(path)):
            assert time.monotonic() < end, response.text
            time.sleep(0.05)
        return response

    def state(self):
        return self.get("/state").json()

    def ask_anew(self):
        """Ask for everything until it has been checked anew: the answer, and its seconds."""
        attempts, seconds = self.state()["async"], 0.0
        while self.state()["async"] == attempts:
            started = time.monotonic()
            response = self.get("/all/ready")
            seconds = max(seconds, time.monotonic() - started)
        return response, seconds


@contextlib.contextmanager
def running(folder, redis=None, kind=SERVERS["uvicorn"]):
    """The site, by default with a Redis that is down, and on uvicorn."""
    directory = folder / "database"
    directory.mkdir()
    environment = {
        "HEALTH_DATABASE": str(directory / "db.sqlite3"),
        "HEALTH_REDIS": redis or f"redis://:hunter2@127.0.0.1:{free_port()}",
    }
    application = f"{__package__}.site:application"
    with RunningServer(kind, application, log=folder / "log", env=environment) as server:
        site = Site(server, directory)
        with site.http:
            yield site


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """The site, for tests that leave it as it is."""
    with running(tmp_path_factory.mktemp("shared")) as site:
        yield site


@pytest.fixture
def start(tmp_path):
    """Start a site of the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(running(tmp_path, *options))


@pytest.fixture
def site(start):
    """A site of the test's own."""
    return start()


@pytest.fixture(autouse=True)
def in_service():
    """Whatever a test does, the process is in service after it."""
    yield
    set_ready(True)
