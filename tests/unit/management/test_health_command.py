"""``manage.py channels_health`` against a real server, as a container would run it."""

import subprocess
import sys

import httpx
import pytest
from django.core.management import CommandError, call_command

from tests.ports import free_port

from .project import SETTINGS, Project, wait_for_port

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("measured_processes")]

ASGI = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from django.core.asgi import get_asgi_application
django_application = get_asgi_application()
from channels.contrib.health import HealthApplication, WebSocketProbe, set_ready
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

async def drain(scope, receive, send):
    set_ready(False)
    await django_application(scope, receive, send)

application = HealthApplication(ProtocolTypeRouter({
    "http": URLRouter([path("drain", drain), path("", django_application)]),
    "websocket": AllowedHostsOriginValidator(URLRouter([path("ws/health/", WebSocketProbe())])),
}))
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    project.write("mysite/settings.py", f"{SETTINGS}\nALLOWED_HOSTS = ['www.example.com']\n")
    project.write("mysite/asgi.py", ASGI)
    return project


@pytest.fixture
def port(project):
    """That of the running site."""
    port = free_port()
    with project.manage("runserver", f"127.0.0.1:{port}", "--noreload"):
        wait_for_port(port)
        yield port


def run(project, *arguments):
    """The command's exit status and what it prints."""
    with project.manage("channels_health", *arguments) as command:
        return command.wait(), command.output


def test_all_is_well(project, port):
    url, ws = f"http://127.0.0.1:{port}/readyz", f"ws://127.0.0.1:{port}/ws/health/"
    status, output = run(project, url)
    assert (status, output.count("\n")) == (0, 1)
    assert output.startswith(f"OK: {url} in ")
    options = ("--websocket", ws, "--host", "www.example.com", "--timeout", "30")
    status, output = run(project, url, *options)
    assert (status, output.count("\n")) == (0, 1)
    assert f"{ws} in " in output


def test_what_is_wrong_is_told_in_one_line(project, port):
    url, ws = f"http://127.0.0.1:{port}/readyz", f"ws://127.0.0.1:{port}/ws/health/"
    assert run(project, url, "--websocket", ws) == (
        1,
        f"CommandError: {ws}: the handshake was refused: 403 Forbidden\n",
    )
    httpx.get(f"http://127.0.0.1:{port}/drain", trust_env=False)
    assert run(project, url) == (
        1,
        f"CommandError: {url}: 503 Service Unavailable (serving: draining)\n",
    )


def test_nobody_is_there(project):
    url = f"http://127.0.0.1:{free_port()}/readyz"
    status, output = run(project, url)
    assert status == 1
    assert output.startswith(f"CommandError: {url}: ")
    assert output.endswith("Connection refused\n")


def test_it_needs_no_checks_no_database_and_no_other_package(project):
    """A broken routing and a broken database setting keep it from nothing."""
    project.append("mysite/settings.py", "DATABASES = {'default': {'ENGINE': 'nothing.there'}}")
    project.write("mysite/urls.py", "import not_there")
    project.write("mysite/asgi.py", "import not_there")
    assert "Connection refused" in run(project, f"http://127.0.0.1:{free_port()}")[1]
    foreign = "redis hiredis uvicorn websockets httpx msgspec cryptography"
    code = (
        "import sys; import channels.management.probe; "
        f"print([name for name in '{foreign}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["ws://127.0.0.1/"], "must start with http:// or https://"),
        (["--websocket", "http://127.0.0.1/"], "must start with ws:// or wss://"),
        (["nonsense"], "must start with"),
        (["--timeout", "0"], "no number of seconds above 0"),
        (["--timeout", "nan"], "no number of seconds above 0"),
        (["--timeout", "soon"], "no number of seconds above 0"),
    ],
)
def test_what_cannot_be_asked(arguments, problem):
    with pytest.raises(CommandError, match=problem):
        call_command("channels_health", *arguments)
