import re
import socket
import sys
import threading
import time
from functools import partial
from io import StringIO

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.core.servers.basehttp import WSGIServer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from channels.management.commands.runserver import Command
from tests.ports import free_port

from .project import DEADLINE, Project, wait_for_port

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("measured_processes")]

STARTED = "Quit the server with CONTROL-C."


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def port():
    return free_port()


def echo(port, path="/ws/echo/", **kwargs):
    return connect(f"ws://127.0.0.1:{port}{path}", proxy=None, **kwargs)


def get(port, path):
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=DEADLINE)


def get_nothing(port, path):
    """Ask for what will not be answered."""
    with pytest.raises(httpx.HTTPError):
        get(port, path)


def closed_with(socket):
    """The close code that the server sends next."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=DEADLINE)
    return closed.value.rcvd.code if closed.value.rcvd else None


def change_until_noticed(server, change, sign):
    """Change files until the autoreloader prints the sign that it has noticed.

    It looks every second for what differs from what it first saw, and it may see the files for
    the first time only after the server has started.
    """
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        change()
        if server.prints(sign, within=5):
            break
    return server.wait_for(sign)


def test_http_websockets_and_static_files_are_served_and_logged(project, port):
    with project.manage("runserver", str(port), "--noreload") as server:
        output = server.wait_for(STARTED)
        assert "System check identified no issues" in output
        assert "Starting ASGI/uvicorn" in output
        assert f"development server at http://127.0.0.1:{port}/" in output
        assert get(port, "/?a=1").text == "hello"
        assert get(port, "/static/style.css").text == "body {}"
        assert get(port, "/static/nothing").status_code == 404
        with echo(port, "/ws/echo/?token=secret") as socket:
            client = "{}:{}".format(*socket.local_address)
            socket.send("hi")
            assert socket.recv(timeout=DEADLINE) == "hi"
        with pytest.raises(InvalidStatus), echo(port, "/ws/refuse/"):
            pass
        with pytest.raises(InvalidStatus), echo(port, "/no/such/path"):
            pass
        output = server.wait_for("REJECT /no/such/path")
    assert re.search(
        r'^\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "GET /\?a=1 HTTP/1.1" 200 5$', output, re.MULTILINE
    )
    assert '"GET /static/nothing HTTP/1.1" 404' in output
    steps = re.findall(r"\] WebSocket (\w+) /ws/echo/ \[(.+)\]", output)
    assert steps == [("HANDSHAKING", client), ("CONNECT", client), ("DISCONNECT", client)]
    assert "WebSocket REJECT /ws/refuse/" in output
    assert "secret" not in output
    assert "Traceback" not in output


def test_a_changed_file_reloads_at_once_whatever_runs(project, port):
    with project.manage("runserver", str(port)) as server:
        server.wait_for(STARTED)
        blocked = threading.Thread(target=get_nothing, args=(port, "/block"))
        blocked.start()
        with echo(port) as idle, echo(port) as busy:
            busy.send("busy")
            change = partial(project.append, "mysite/urls.py", "# changed")
            change_until_noticed(server, change, "changed, reloading")
            began = time.monotonic()
            assert closed_with(idle) == 1012
            assert closed_with(busy) == 1012
            assert time.monotonic() - began < 10
        server.wait_for(STARTED, times=2)
        assert get(port, "/").text == "hello"
        output = server.wait_for("disconnected with 1012", times=2)
        blocked.join(DEADLINE)
    assert "Traceback" not in output


@pytest.mark.parametrize("arguments", [(), ("--noreload",)])
def test_ctrl_c_ends_the_server_quickly_and_quietly(project, port, arguments):
    with project.manage("runserver", str(port), *arguments) as server:
        server.wait_for(STARTED)
        blocked = threading.Thread(target=get_nothing, args=(port, "/block"))
        blocked.start()
        with echo(port) as idle, echo(port) as busy:
            busy.send("busy")
            idle.send("still alive")
            assert idle.recv(timeout=DEADLINE) == "still alive"
            began = time.monotonic()
            server.ctrl_c()
            assert server.wait() == 0
            assert time.monotonic() - began < 3
            assert closed_with(idle) == 1012
        blocked.join(DEADLINE)
        assert "Traceback" not in server.output
        assert "Exception" not in server.output


def test_a_port_in_use_is_reported_as_django_does(project, port):
    with (
        socket.create_server(("127.0.0.1", port)),
        project.manage("runserver", str(port)) as server,
    ):
        assert server.wait() == 1
        assert "Error: That port is already in use." in server.output


@pytest.mark.parametrize("mistake", ["raise RuntimeError('half written')", "half written ="])
def test_an_application_that_cannot_be_imported_is_waited_for(project, port, mistake):
    """The mistake is in a module that the application imports."""
    project.append("mysite/asgi.py", "from . import consumers")
    project.write("mysite/consumers.py", mistake)
    with project.manage("runserver", str(port)) as server:
        server.wait_for("half written")
        server.wait_for("consumers.py")
        change_until_noticed(server, partial(project.write, "mysite/consumers.py", ""), STARTED)
        assert get(port, "/").text == "hello"


def test_limits_on_time(project, port):
    project.append("mysite/urls.py", "import asyncio")
    project.append(
        "mysite/asgi.py",
        "class Slow(AsyncWebsocketConsumer):\n"
        "    async def connect(self):\n"
        "        await asyncio.sleep(60)\n"
        'application.application_mapping["websocket"] = Slow.as_asgi()\n',
    )
    limits = ("--http_timeout", "0.5", "--websocket_handshake_timeout", "1")
    with project.manage("runserver", str(port), "--noreload", *limits) as server:
        server.wait_for(STARTED)
        assert get(port, "/block").status_code == 503
        with pytest.raises(InvalidStatus) as refused, echo(port):
            pass
        assert refused.value.response.status_code == 503
        output = server.wait_for("WebSocket REJECT /ws/echo/")
    assert '"GET /block HTTP/1.1" 503' in output
    assert "has not answered within 0.5 s" in output
    assert "Traceback" not in output


def test_everything_is_served_below_the_script_name(project, port):
    """And without it, as if a proxy had stripped it; as Django's own server does."""
    project.append("mysite/settings.py", 'FORCE_SCRIPT_NAME = "/base"\n')
    project.write(
        "mysite/urls.py",
        "from django.http import HttpResponse\n"
        "from django.urls import path, reverse\n"
        "urlpatterns = [path('', lambda r: HttpResponse(reverse('home')), name='home')]\n",
    )
    with project.manage("runserver", str(port), "--noreload") as server:
        server.wait_for(STARTED)
        assert get(port, "/base/").text == get(port, "/").text == "/base/"
        assert get(port, "/base/static/style.css").text == "body {}"
        for path in ("/base/ws/echo/", "/ws/echo/"):
            with echo(port, path) as socket:
                socket.send("hi")
                assert socket.recv(timeout=DEADLINE) == "hi"


def test_noasgi_is_djangos_own_server(project, port):
    with project.manage("runserver", str(port), "--noasgi", "--noreload") as server:
        server.wait_for(f"development server at http://127.0.0.1:{port}/")
        assert get(port, "/").headers["server"].startswith("WSGIServer")
        assert get(port, "/static/style.css").text == "body {}"


def test_static_files_are_left_alone_when_told_so_or_not_installed(project, port):
    with project.manage("runserver", str(port), "--nostatic", "--noreload") as server:
        server.wait_for(STARTED)
        assert get(port, "/static/style.css").status_code == 404
    project.append("mysite/settings.py", 'INSTALLED_APPS = ["channels"]')
    with project.manage("runserver", str(port), "--noreload") as server:
        server.wait_for(STARTED)
        assert get(port, "/static/style.css").status_code == 404
    with project.manage("runserver", "--nostatic") as server:
        assert server.wait() == 2


def test_static_files_without_debug_need_insecure(project, port):
    project.append("mysite/settings.py", 'DEBUG = False; ALLOWED_HOSTS = ["*"]')
    with project.manage("runserver", str(port), "--noreload") as server:
        server.wait_for(STARTED)
        assert get(port, "/static/style.css").status_code == 404
    with project.manage("runserver", str(port), "--noreload", "--insecure") as server:
        server.wait_for(STARTED)
        assert get(port, "/static/style.css").status_code == 200


def test_the_projects_logging_applies(project, port):
    project.append(
        "mysite/settings.py",
        'LOGGING = {"version": 1, "formatters": {"mine": {"format": "MINE %(status_code)s '
        '%(message)s"}}, "handlers": {"h": {"class": "logging.StreamHandler", "formatter": '
        '"mine"}}, "loggers": {"django.server": {"handlers": ["h"], "propagate": False}}}',
    )
    with project.manage("runserver", str(port), "--noreload") as server:
        server.wait_for(STARTED)
        assert get(port, "/").status_code == 200
        server.wait_for('MINE 200 "GET / HTTP/1.1" 200 5')


def test_daphne_installed_first_serves(project, port):
    project.append("mysite/settings.py", 'INSTALLED_APPS.insert(0, "daphne")')
    with project.manage("runserver", str(port), "--noreload") as server:
        server.wait_for("Starting ASGI/Daphne")
        wait_for_port(port)
        assert get(port, "/static/style.css").text == "body {}"
        with echo(port) as socket:
            socket.send("hi")
            assert socket.recv(timeout=DEADLINE) == "hi"


def test_without_an_application_the_setting_is_named(settings):
    del settings.ASGI_APPLICATION
    with pytest.raises(CommandError, match="ASGI_APPLICATION is not set"):
        call_command("runserver")


@pytest.mark.parametrize("missing", [["uvicorn"], ["websockets", "wsproto"]])
def test_without_uvicorn_the_extra_is_named(settings, monkeypatch, missing):
    settings.ASGI_APPLICATION = "mysite.asgi.application"
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CommandError, match=re.escape('pip install "channels[uvicorn]"')):
        call_command("runserver")


class BriefServer(WSGIServer):
    """Binds, and ends at once instead of serving."""

    def serve_forever(self, poll_interval=0.5):
        self.server_close()


class BriefTitledServer(BriefServer):
    title = "brief"


@pytest.mark.django_db
@pytest.mark.parametrize("server", [BriefServer, BriefTitledServer])
def test_noasgi_needs_no_asgi_application_and_returns_when_the_server_ends(
    settings, monkeypatch, server
):
    del settings.ASGI_APPLICATION
    settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setenv("DJANGO_RUNSERVER_HIDE_WARNING", "true")
    command = Command(stdout=StringIO())
    command.server_cls = server
    call_command(command, "0", "--noasgi", "--noreload", "--skip-checks")
    output = command.stdout.getvalue()
    assert "development server at http://127.0.0.1:" in output
    assert ("Starting brief" in output) == (server is BriefTitledServer)
    if server is BriefTitledServer:
        assert "WARNING" not in output


async def show_root_path(scope, receive, send):
    body = f"{scope['root_path']} {scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_the_application_is_told_the_script_name(settings):
    settings.ASGI_APPLICATION = f"{__name__}.show_root_path"
    settings.FORCE_SCRIPT_NAME = "/base"
    handler = Command().get_handler(
        use_asgi=True,
        use_static_handler=False,
        insecure_serving=False,
        http_timeout=None,
        websocket_handshake_timeout=5,
    )
    transport = httpx.ASGITransport(handler)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/base/page")).text == "/base /base/page"
