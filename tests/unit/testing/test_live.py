"""ChannelsLiveServerTestCase: real clients, real databases, nothing left behind."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import unittest
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import override_settings

from channels.layers import get_channel_layer, get_sync_channel_layer
from channels.lifespan import Lifespan
from channels.testing import ChannelsLiveServerTestCase, live
from channels.testing.live import LiveServer
from tests.brokers import running

from . import live_cases, live_site
from .live_cases import SITE

ROOT = Path(__file__).resolve().parents[3]
KINDS_OF_POOLS = ("channels-sync", "ThreadPoolExecutor", "channels-bridge", "asyncio")


@contextmanager
def nothing_left_behind():
    """The block ends every thread but those of pools that the whole process has."""
    before = set(threading.enumerate())
    usual = connections._connections
    own = {alias: connections[alias] for alias in connections}
    kinds = {alias: type(connection) for alias, connection in own.items()}
    yield
    left = {thread for thread in threading.enumerate() if thread not in before}
    assert not [thread for thread in left if not thread.name.startswith(KINDS_OF_POOLS)]
    assert connections._connections is usual
    assert {alias: connections[alias] for alias in connections} == own
    assert {alias: type(connection) for alias, connection in own.items()} == kinds
    assert "localhost" not in settings.ALLOWED_HOSTS


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    """Run the tests of a class as Django's test runner does."""
    result = unittest.TestResult()
    with nothing_left_behind():
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def expect_pass(case: type[unittest.TestCase], tests: int = 1) -> None:
    result = run(case)
    assert not result.errors + result.failures, "\n".join(
        trace for _, trace in result.errors + result.failures
    )
    assert result.testsRun == tests


def expect_no_start(case: type[unittest.TestCase]) -> str:
    """Run a class whose server does not start; what the test run says about it."""
    result = run(case)
    assert result.testsRun == 0
    ((_, trace),) = result.errors
    return trace


@pytest.mark.django_db(transaction=True)
class TestInMemory:
    """On the in-memory database of the test suite."""

    def test_data_is_shared(self):
        expect_pass(live_cases.SharedData, tests=8)

    def test_life_cycle(self):
        expect_pass(live_cases.LifeCycle, tests=8)
        assert sorted(live_site.ended) == [("async", 1012), ("sync", 1012)]
        assert live_site.lifespan == ["startup", "shutdown"]

    def test_it_starts_in_under_a_second(self):
        @override_settings(**SITE)
        class Empty(ChannelsLiveServerTestCase):
            def test_nothing(self):
                pass

        expect_pass(Empty)  # has imported what there is to import
        started = time.monotonic()
        Empty.setUpClass()
        taken = time.monotonic() - started
        Empty.tearDownClass()
        Empty.doClassCleanups()
        assert taken < 1

    def test_many_classes_one_after_another(self):
        for number in range(10):

            @override_settings(**SITE)
            class Case(ChannelsLiveServerTestCase):
                def test_page(self, name=f"group-{number}"):
                    Group.objects.create(name=name)
                    with urlopen(f"{self.live_server_url}/names/", timeout=10) as response:
                        assert response.read().decode() == name

            expect_pass(Case)


@pytest.mark.django_db(transaction=True)
class TestLayers:
    @pytest.mark.parametrize(
        "backend", ["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"]
    )
    def test_redis_is_shared_and_the_server_s_connections_are_closed(self, backend):
        @override_settings(**SITE)
        class Case(live_cases.LiveCase):
            def test_group(self):
                socket = self.open("async/")
                socket.send("here")
                socket.recv(timeout=10)
                message = {"type": "news.line", "text": "Soup is ready"}
                async_to_sync(get_channel_layer().group_send)("news", message)
                assert socket.recv(timeout=10) == "Soup is ready"

        def connections() -> int:
            with broker.client() as client:
                return len(client.client_list())

        with running("valkey") as broker:
            layer = {"BACKEND": f"channels_redis.{backend}", "CONFIG": {"hosts": [broker.url]}}
            with override_settings(CHANNEL_LAYERS={"default": layer}):
                get_sync_channel_layer().group_send("news", {"type": "news.line"})
                before = connections()
                for _ in range(2):
                    expect_pass(Case)
                    gc.collect()
                    assert connections() == before
                async_to_sync(get_channel_layer().aclose)()


class TestOtherDatabases:
    """In a test run of its own, with Django's runner, which drops the databases at the end."""

    def expect_pass(self, folder: Path, database: str) -> None:
        # Connections that stay open for longer than any test: somebody has to close them.
        (folder / "live_settings.py").write_text(
            "from tests.settings import *\n"
            f"DATABASES = {{'default': {{**{database}, 'CONN_MAX_AGE': None}}}}\n"
        )
        test = [sys.executable, "-W", "error", "-m", "django", "test", "--noinput"]
        done = subprocess.run(
            [*test, "tests.unit.testing.live_cases", "--settings=live_settings"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert "Ran 16 tests" in done.stdout
        assert "Warning" not in done.stdout

    def test_sqlite_in_a_file(self, tmp_path):
        file = str(tmp_path / "test.sqlite3")
        options = {"transaction_mode": "IMMEDIATE", "timeout": 30}
        engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": "unused.sqlite3"}
        self.expect_pass(tmp_path, repr({**engine, "OPTIONS": options, "TEST": {"NAME": file}}))
        assert not Path(file).exists()

    def test_sqlite_in_memory(self, tmp_path):
        self.expect_pass(
            tmp_path, repr({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})
        )

    def test_postgresql(self, tmp_path, postgresql):
        self.expect_pass(tmp_path, repr({"ENGINE": "django.db.backends.postgresql", **postgresql}))


@pytest.fixture
def postgresql(tmp_path):
    """A PostgreSQL server, where the environment names one (``TEST_POSTGRESQL=host:port``)."""
    address = os.environ.get("TEST_POSTGRESQL")
    if not address:
        pytest.skip("TEST_POSTGRESQL is not set to the host:port of a PostgreSQL server")
    pytest.importorskip("psycopg")
    host, port = address.rsplit(":", 1)
    return {"NAME": "postgres", "USER": "postgres", "HOST": host, "PORT": port}


def greet(application):
    """A wrapper in place of the one for static files."""

    async def greeting(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/greeting/":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"Hello"})
        else:
            await application(scope, receive, send)

    return greeting


def another_server(calls, *, gets_ready=True):
    """A class with the surface of a server's process, which notes what is done with it."""

    class Process:
        def __init__(self, host, get_application):
            calls.append((host, get_application() is live_site.application))
            self.port = SimpleNamespace(value=4711)
            self.ready = SimpleNamespace(wait=self.wait)

        def wait(self, timeout=None):
            calls.append("wait")
            return gets_ready

        def start(self):
            calls.append("start")

        def terminate(self):
            calls.append("terminate")

        def join(self, timeout=None):
            calls.append("join")

    return Process


@pytest.mark.django_db(transaction=True)
class TestAttributes:
    def test_static_files_are_served(self, tmp_path):
        (tmp_path / "page.css").write_text("body{}")

        @override_settings(**SITE, STATICFILES_DIRS=[tmp_path])
        class Static(ChannelsLiveServerTestCase):
            def test_file(self):
                with urlopen(f"{self.live_server_url}/static/page.css", timeout=10) as response:
                    assert response.read() == b"body{}"

        class NoStatic(Static):
            serve_static = False

            def test_file(self):
                with pytest.raises(HTTPError, match="404"):
                    super().test_file()

        expect_pass(Static)
        expect_pass(NoStatic)

    def test_without_a_static_url_there_is_nothing_to_serve(self):
        @override_settings(**{**SITE, "STATIC_URL": None})
        class Case(ChannelsLiveServerTestCase):
            def test_page(self):
                with urlopen(f"{self.live_server_url}/names/", timeout=10) as response:
                    assert response.status == 200

        expect_pass(Case)

    def test_static_wrapper_may_be_any_function(self):
        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            static_wrapper = greet

            def test_page(self):
                with urlopen(f"{self.live_server_url}/greeting/", timeout=10) as response:
                    assert response.read() == b"Hello"

        expect_pass(Case)

    @pytest.mark.parametrize(
        ("address", "shown"), [("0.0.0.0", "0.0.0.0"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")]
    )
    def test_host_is_listened_on_and_allowed(self, address, shown):
        if ":" in address and not socket.has_ipv6:
            pytest.skip("no IPv6 here")

        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            host = address

            def test_page(self):
                assert self.live_server_url.startswith(f"http://{shown}:")
                assert shown in settings.ALLOWED_HOSTS
                with urlopen(f"{self.live_server_url}/names/", timeout=10) as response:
                    assert response.status == 200

        expect_pass(Case)

    def test_port_may_be_chosen(self):
        with socket.create_server(("localhost", 0)) as listener:
            chosen = listener.getsockname()[1]

        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            port = chosen

            def test_port(self):
                assert self._port == chosen
                assert self.live_server_url == f"http://localhost:{chosen}"

        expect_pass(Case)

    def test_another_server_needs_only_the_surface_of_a_process(self):
        calls = []

        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            ProtocolServerProcess = another_server(calls)
            serve_static = False

            def test_it(self):
                assert type(self._server_process) is self.ProtocolServerProcess
                assert self.live_server_ws_url == "ws://localhost:4711"

        expect_pass(Case)
        assert calls == [("localhost", True), "start", "wait", "terminate", "join"]


@pytest.mark.django_db(transaction=True)
class TestFailures:
    """What prevents the server from starting is the error of the test."""

    def case(self, **site):
        @override_settings(**{**SITE, **site})
        class Case(ChannelsLiveServerTestCase):
            def test_never_runs(self):
                raise AssertionError

        return Case

    def test_no_uvicorn(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        trace = expect_no_start(self.case())
        assert "LiveServerError" in trace
        assert 'pip install "channels[uvicorn]"' in trace

    def test_no_websockets(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "websockets", None)
        monkeypatch.setitem(sys.modules, "wsproto", None)
        assert 'pip install "channels[uvicorn]"' in expect_no_start(self.case())

    def test_application_that_cannot_be_imported(self):
        trace = expect_no_start(self.case(ASGI_APPLICATION="tests.nowhere.application"))
        assert ImproperlyConfigured.__name__ in trace
        assert "tests.nowhere" in trace

    def test_application_that_refuses_to_start(self, caplog):
        name = "tests.unit.testing.live_site.refusing"
        assert "lifespan startup failed" in expect_no_start(self.case(ASGI_APPLICATION=name))
        assert "the mill has stopped" in caplog.text

    def test_server_that_is_never_ready(self):
        calls = []
        case = self.case()
        case.ProtocolServerProcess = another_server(calls, gets_ready=False)
        case.serve_static = False
        assert "LiveServerError: The server was not ready" in expect_no_start(case)
        assert calls == [("localhost", True), "start", "wait", "terminate", "join"]

    def test_port_in_use(self):
        with socket.create_server(("localhost", 0)) as listener:
            case = self.case()
            case.port = listener.getsockname()[1]
            assert "Address already in use" in expect_no_start(case)


@pytest.mark.django_db(transaction=True)
class TestTrouble:
    """What happens to the server after it has started is told as well."""

    def test_a_handler_that_does_not_end_fails_the_test(self, monkeypatch):
        monkeypatch.setattr(live, "_STOP_TIMEOUT", 0.2)
        asleep, wake_up = threading.Event(), threading.Event()

        async def sleeper(scope, receive, send):
            if scope["type"] == "http":
                asleep.set()
                await asyncio.to_thread(wake_up.wait, 30)

        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            static_wrapper = lambda application: sleeper  # noqa: E731

            def test_request(self):
                host, port = self.live_server_url.removeprefix("http://").split(":")
                client = self.enterContext(socket.create_connection((host, int(port))))
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert asleep.wait(10)

            @classmethod
            def tearDownClass(cls):
                monkeypatch.undo()
                wake_up.set()
                super().tearDownClass()

        result = run(Case)
        assert "LiveServerError" in result.errors[0][1]
        assert "still running" in result.errors[0][1]
        assert len(result.errors) == 1

    def test_a_server_that_does_not_stop_is_an_error_of_the_class(self):
        shutting_down, go_on = threading.Event(), threading.Event()
        servers = []

        def hold_the_event_loop():
            shutting_down.set()
            go_on.wait(30)

        def let_it_end():
            go_on.set()
            threading.Thread.join(servers[0], 10)

        class Impatient(LiveServer):
            def start(self):
                servers.append(self)
                super().start()

            def join(self, timeout=None):
                assert shutting_down.wait(10)
                super().join(0)

        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            ProtocolServerProcess = Impatient
            static_wrapper = lambda _: Lifespan(on_shutdown=[hold_the_event_loop])  # noqa: E731

            @classmethod
            def setUpClass(cls):
                cls.addClassCleanup(let_it_end)  # after the server was told to stop
                super().setUpClass()

            def test_nothing(self):
                pass

        result = run(Case)
        ((_, trace),) = result.errors
        assert "LiveServerError: The server did not stop" in trace

    def test_a_server_that_breaks_off_is_an_error_of_the_class(self):
        @override_settings(**SITE)
        class Case(ChannelsLiveServerTestCase):
            def test_break_off(self):
                loop, ended = self._server_process._loop, self._server_process.join
                loop.call_soon_threadsafe(loop.stop)
                ended(10)

        result = run(Case)
        ((_, trace),) = result.errors
        assert "Event loop stopped" in trace


class TestLiveServer:
    """The server by itself, as those use it who write their own test case or fixture."""

    def test_it_is_handled_like_a_process(self):
        server = LiveServer("localhost", lambda: greet(None))
        server.start()
        assert server.ready.wait(10)
        with urlopen(f"http://localhost:{server.port.value}/greeting/", timeout=10) as response:
            assert response.read() == b"Hello"
        server.terminate()
        server.join(10)
        assert not server.is_alive()
        assert server.error is None

    def test_terminated_before_it_is_ready(self):
        server = LiveServer("localhost", lambda: greet(None))
        server.terminate()
        server.start()
        server.join(10)
        assert not server.is_alive()
        assert server.error is None

    def test_what_fails_is_kept(self):
        server = LiveServer("host.invalid", lambda: greet(None))
        server.start()
        assert server.ready.wait(10)
        server.join(10)
        assert isinstance(server.error, OSError)

    def test_hanging_up_after_the_end_does_nothing(self):
        server = LiveServer("localhost", lambda: greet(None))
        server.hang_up()
        server.start()
        assert server.ready.wait(10)
        server.terminate()
        server.join(10)
        server.hang_up()
        assert not server.is_alive()
        assert server.error is None
