"""A Django project in a temporary folder, and its management commands as real processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

DEADLINE = 60.0

# A shell that starts the tests in the background has SIGINT ignored; so would its children.
MANAGE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = """
from pathlib import Path
from typing import Self
SECRET_KEY = "not-a-secret"
DEBUG = True
ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"
INSTALLED_APPS = ["channels", "django.contrib.staticfiles"]
STATIC_URL = "static/"
STATICFILES_DIRS = [Path(__file__).parent / "assets"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
"""

URLS = """
import time
from django.http import HttpResponse
from django.urls import path

def block(request):
    time.sleep(600)

urlpatterns = [path("", lambda request: HttpResponse("hello")), path("block", block)]
"""

ASGI = """
import asyncio
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "busy":
            await asyncio.sleep(600)
        await self.send(text_data)

    async def disconnect(self, code):
        print("disconnected with", code, flush=True)

class Refuse(WebsocketConsumer):
    def connect(self):
        self.close()

application = ProtocolTypeRouter({
    "http": get_asgi_application(),
    "websocket": URLRouter([
        path("ws/echo/", Echo.as_asgi()), path("ws/refuse/", Refuse.as_asgi()),
    ]),
})
"""


class Project:
    """Files of a project, and how to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("manage.py", MANAGE)
        self.write("mysite/__init__.py", "")
        self.write("mysite/settings.py", SETTINGS)
        self.write("mysite/urls.py", URLS)
        self.write("mysite/asgi.py", ASGI)
        self.write("mysite/assets/style.css", "body {}")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def append(self, name: str, text: str) -> None:
        self.write(name, (self.folder / name).read_text("utf-8") + "\n" + text)

    def manage(self, *arguments: str) -> "Process":
        return Process([sys.executable, "manage.py", *arguments], self.folder)


class Process:
    """A management command that runs, what it prints, and how it ends."""

    def __init__(self, command: list[str], folder: Path) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")
        }
        environment |= {"DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONUNBUFFERED": "1"}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        return "".join(list(self.lines))

    def prints(self, text: str, times: int = 1, within: float = DEADLINE) -> bool:
        """Whether ``text`` will have been printed this often in so many seconds."""
        end = time.monotonic() + within
        while self.output.count(text) < times:
            ended = self.process.poll() is not None and not self.reader.is_alive()
            if ended or time.monotonic() > end:
                return self.output.count(text) >= times
            time.sleep(0.02)
        return True

    def wait_for(self, text: str, times: int = 1) -> str:
        """Wait until ``text`` has been printed this often; return all output."""
        if not self.prints(text, times):
            raise AssertionError(f"{text!r} was not printed {times} times in:\n{self.output}")
        return self.output

    def ctrl_c(self) -> None:
        """Send SIGINT to all processes of the terminal's foreground, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def wait_for_port(port: int) -> None:
    """Wait until something listens on the port."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
