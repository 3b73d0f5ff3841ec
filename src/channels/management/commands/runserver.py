"""``manage.py runserver``: HTTP and WebSocket, static files and autoreload, on uvicorn."""

import os
import sys
import traceback
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands.runserver import Command as StaticfilesCommand
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.runserver import Command as RunserverCommand
from django.utils import autoreload
from django.utils.version import get_docs_version

from channels.routing import get_default_application

from ..limits import TimeLimits
from ..requestlog import RequestLog
from ..rootpath import RootPath

__all__ = ["Command"]


class Command(StaticfilesCommand):
    """Django's ``runserver``, serving ``ASGI_APPLICATION`` instead of ``WSGI_APPLICATION``.

    Only the server and the application are exchanged: arguments, checks, the autoreloader and
    the messages for a port in use are Django's. With ``--noasgi`` nothing is exchanged.
    """

    help = "Starts a development server for HTTP and WebSocket that serves ASGI_APPLICATION."

    addr: str  # set by Django's handle()
    _raw_ipv6: bool

    def add_arguments(self, parser: CommandParser) -> None:
        """Add Django's arguments, those for static files if that app is installed, and ours."""
        if apps.is_installed("django.contrib.staticfiles"):
            super().add_arguments(parser)
        else:
            RunserverCommand.add_arguments(self, parser)
            parser.set_defaults(use_static_handler=False, insecure_serving=False)
        parser.add_argument(
            "--noasgi",
            action="store_false",
            dest="use_asgi",
            default=True,
            help="Run Django's WSGI server instead, which serves no WebSockets.",
        )
        parser.add_argument(
            "--http_timeout",
            type=float,
            default=None,
            help="Seconds an HTTP request may take until its response has ended (default: no "
            "limit). A request that has had no response by then is answered with 503.",
        )
        parser.add_argument(
            "--websocket_handshake_timeout",
            type=float,
            default=5,
            help="Seconds the application may take to accept or refuse a WebSocket (default: 5).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Say what is missing before the autoreloader starts, then do as Django does."""
        if options["use_asgi"]:
            if not getattr(settings, "ASGI_APPLICATION", None):
                raise CommandError(
                    "ASGI_APPLICATION is not set: set it to the path of your application, for "
                    'example "mysite.asgi.application", or use --noasgi.'
                )
            if not find_spec("uvicorn") or not (find_spec("websockets") or find_spec("wsproto")):
                raise CommandError(
                    "runserver needs uvicorn and its WebSocket support: "
                    'pip install "channels[uvicorn]" (or use --noasgi for HTTP only).'
                )
            from ..server import UvicornServer  # noqa: PLC0415 - imports uvicorn, an extra

            self.server_cls = UvicornServer  # type: ignore[assignment] # the same interface
        super().handle(*args, **options)

    def run(self, **options: Any) -> None:
        """Run the server; with the autoreloader, end it cleanly before the process ends."""
        if not (options["use_asgi"] and options["use_reloader"]):
            super().run(**options)
            return
        from ..server import UvicornServer  # noqa: PLC0415

        status = 0
        try:
            super().run(**options)
        except SystemExit as ending:
            status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
            raise
        finally:
            UvicornServer.end(status)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check and serve; the autoreloader calls it in a thread, and waits when it fails.

        The application is imported before the checks, which could say only that it fails.
        """
        if options["use_asgi"]:
            try:
                get_default_application()
            except Exception as error:
                _watch_files_of(error)
                raise
        super().inner_run(*args, **options)

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """The application to serve: ASGI, or with ``--noasgi`` WSGI."""
        if not options["use_asgi"]:
            return super().get_handler(*args, **options)
        application: Any = get_default_application()
        if options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"]):
            application = ASGIStaticFilesHandler(application)
        root_path = settings.FORCE_SCRIPT_NAME or ""
        if root_path.strip("/"):
            application = RootPath(application, root_path)
        limited = TimeLimits(
            application,
            response=options["http_timeout"],
            handshake=options["websocket_handshake_timeout"],
        )
        return RequestLog(limited)

    def on_bind(self, server_port: int) -> None:
        """Say where the server listens, once it does."""
        title = getattr(self.server_cls, "title", None)
        if title is None:  # Django's WSGI server
            super().on_bind(server_port)
            return
        address = {"0": "0.0.0.0"}.get(self.addr, self.addr)  # noqa: S104 - shown, not bound
        host = f"[{address}]" if self._raw_ipv6 else address
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        self.stdout.write(
            f"{datetime.now():%B %d, %Y - %X}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting {title} development server at "
            f"{self.protocol}://{host}:{server_port}/\n"
            f"Quit the server with {quit_command}."
        )
        if os.environ.get("DJANGO_RUNSERVER_HIDE_WARNING") != "true":
            self.stdout.write(
                self.style.WARNING(
                    "WARNING: This is a development server: it reloads, shows errors and is slow. "
                    "For a server that faces the public see\nhttps://docs.djangoproject.com/en/"
                    f"{get_docs_version()}/howto/deployment/asgi/"
                )
            )


def _watch_files_of(error: BaseException | None) -> None:
    """Let the autoreloader watch the files that lead to ``error``, to notice when it is fixed.

    It watches loaded modules and the file that raised. An application imports modules that import
    others: when one fails, none of them counts as loaded.
    """
    while error is not None:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            files.append(error.filename)
        autoreload._error_files.extend(files)  # type: ignore[attr-defined]
        error = error.__cause__ or error.__context__
