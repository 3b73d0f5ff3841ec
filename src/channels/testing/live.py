"""A real server for tests: for browsers, and for whatever else speaks HTTP and WebSocket."""

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.test import TransactionTestCase, modify_settings
from django.utils.functional import classproperty

from channels._runtime import lograte
from channels._runtime.types import ASGIApplication
from channels.exceptions import ChannelsError
from channels.routing import get_default_application

from .databases import shared_with_threads

if TYPE_CHECKING:
    from .server import Server

__all__ = ["ChannelsLiveServerTestCase", "LiveServer", "LiveServerError", "make_application"]

# Seconds. Generous: an application's startup may connect to much, and its end wait for much.
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0

_BLOCKED = "Something blocks its event loop, or a thread that runs synchronous code."


class LiveServerError(ChannelsError, RuntimeError):
    """The live server of a test cannot start, or does not stop."""


class LiveServer(threading.Thread):
    """uvicorn in a thread with an event loop of its own, handled like a process.

    Attributes:
        ready: a ``threading.Event``, set once it accepts connections, or has failed.
        port: its ``value`` is the port, once it is ready.
        error: what it failed with, until somebody raises it, else None.

    Args:
        host: name or address to listen on.
        get_application: called in the thread; returns the ASGI application.
        port: the port to listen on; 0 for one that the system chooses.
    """

    def __init__(
        self, host: str, get_application: Callable[[], ASGIApplication], *, port: int = 0
    ) -> None:
        super().__init__(name="channels-live-server", daemon=True)
        self.host = host
        self.port = SimpleNamespace(value=port)
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self._get_application = get_application
        self._terminated = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None

    def run(self) -> None:
        """Serve until :meth:`terminate`. Called by ``start()``, in the thread."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - to be raised by whoever waits for it
            self.error = error
        finally:
            self.ready.set()

    def terminate(self) -> None:
        """Tell it to stop, and do not wait for that: ``join()`` does."""
        self._terminated = True
        if self._server is not None:
            self._server.should_exit = True

    def hang_up(self) -> None:
        """Close every connection and wait for the handlers; go on serving.

        Raises:
            LiveServerError: a handler does not come to its end.
        """
        if self._loop is None or self._server is None or not self.is_alive():
            return
        hanging_up = asyncio.run_coroutine_threadsafe(self._server.hang_up(), self._loop)
        try:
            hanging_up.result(_STOP_TIMEOUT)
        except TimeoutError:
            hanging_up.cancel()
            raise LiveServerError(
                f"A handler was still running {_STOP_TIMEOUT:g} seconds after the end of the test. "
                f"{_BLOCKED}"
            ) from None

    def raise_error(self) -> None:
        """Raise what it failed with, once, if it has failed."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    async def _serve(self) -> None:
        if not find_spec("uvicorn") or not (find_spec("websockets") or find_spec("wsproto")):
            raise LiveServerError(
                "The live server needs uvicorn and its WebSocket support: "
                'pip install "channels[uvicorn]".'
            )
        from .server import Server  # noqa: PLC0415 - imports uvicorn, an extra

        application = self._get_application()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.create_server((self.host, self.port.value), family=family) as listener:
            self.port.value = listener.getsockname()[1]
            self._loop = asyncio.get_running_loop()
            self._server = Server(application, self.ready.set)
            self._server.should_exit = self._terminated
            try:
                await self._server.serve(sockets=[listener])
            except SystemExit:
                raise LiveServerError(
                    "The application's lifespan startup failed: its log, and that of "
                    "uvicorn.error, say why."
                ) from None


def make_application(
    *, static_wrapper: Callable[[ASGIApplication], ASGIApplication] | None
) -> ASGIApplication:
    """Import ``settings.ASGI_APPLICATION``, and wrap it so that static files are served.

    Args:
        static_wrapper: takes the application and returns another one; None wraps nothing.

    Raises:
        ImproperlyConfigured: the setting is missing, or leads to nothing.
    """
    application = get_default_application()
    return application if static_wrapper is None else static_wrapper(application)


class ChannelsLiveServerTestCase(TransactionTestCase):
    """Serves ``ASGI_APPLICATION`` on a real port while the tests of the class run.

    Like Django's ``LiveServerTestCase``, for HTTP and WebSocket. The server is uvicorn in a thread
    of the test's process: it sees the test's database, whichever that is, its settings, its mocks
    and its in-memory channel layer. It runs for all tests of a class. At the end of each test
    every connection is closed, WebSockets with code 1012, and handlers have come to their end
    before the database is emptied.

    ``static_wrapper`` takes the application and returns one that serves static files.
    ``ProtocolServerProcess`` makes the server, of the host and a function that returns the
    application. What it makes has ``start()``, ``ready.wait()``, ``port.value``, ``terminate()``
    and ``join()``.

    Attributes:
        live_server_url: where the site is, such as ``http://localhost:49152``.
        live_server_ws_url: where its WebSockets are, such as ``ws://localhost:49152``.
        host: name or address to listen on, which is also appended to ``ALLOWED_HOSTS``.
        port: the port to listen on; 0 for one that the system chooses.
        serve_static: whether files of ``STATIC_URL`` are served, as ``runserver`` would.
    """

    host: ClassVar[str] = "localhost"
    port: ClassVar[int] = 0
    serve_static: ClassVar[bool] = True
    static_wrapper: ClassVar[Any] = ASGIStaticFilesHandler
    ProtocolServerProcess: ClassVar[Any] = LiveServer

    _port: ClassVar[int]
    _server_process: ClassVar[Any] = None

    @classproperty
    def live_server_url(cls) -> str:  # noqa: N805
        """Where the site is, without a slash at the end."""
        return f"http://{cls.allowed_host}:{cls._port}"

    @classproperty
    def live_server_ws_url(cls) -> str:  # noqa: N805
        """Where its WebSockets are, without a slash at the end."""
        return f"ws://{cls.allowed_host}:{cls._port}"

    @classproperty
    def allowed_host(cls) -> str:  # noqa: N805
        """The host as it stands in URLs and in ``ALLOWED_HOSTS``."""
        return f"[{cls.host}]" if ":" in cls.host else cls.host

    @classmethod
    def setUpClass(cls) -> None:  # noqa: D102
        super().setUpClass()
        cls.enterClassContext(modify_settings(ALLOWED_HOSTS={"append": cls.allowed_host}))
        cls.enterClassContext(shared_with_threads(cls._databases_names()))  # type: ignore[attr-defined]
        cls._start_server()

    def _post_teardown(self) -> None:
        try:
            if isinstance(self._server_process, LiveServer):
                self._server_process.hang_up()
        finally:
            lograte.reset()  # the next test may look for what it causes in the log
            super()._post_teardown()  # type: ignore[misc]

    @classmethod
    def _start_server(cls) -> None:
        wrapper = cls.static_wrapper if cls.serve_static and settings.STATIC_URL else None
        get_application = partial(make_application, static_wrapper=wrapper)
        options = {"port": cls.port} if cls.port else {}
        server = cls.ProtocolServerProcess(cls.host, get_application, **options)
        cls._server_process = server
        server.start()
        cls.addClassCleanup(cls._stop_server)
        if not server.ready.wait(_START_TIMEOUT):
            raise LiveServerError(f"The server was not ready within {_START_TIMEOUT:g} seconds.")
        if isinstance(server, LiveServer):
            server.raise_error()
        cls._port = server.port.value

    @classmethod
    def _stop_server(cls) -> None:
        server, cls._server_process = cls._server_process, None
        server.terminate()
        server.join(_STOP_TIMEOUT)
        if isinstance(server, LiveServer):
            if server.is_alive():
                raise LiveServerError(
                    f"The server did not stop within {_STOP_TIMEOUT:g} seconds. {_BLOCKED}"
                )
            server.raise_error()
