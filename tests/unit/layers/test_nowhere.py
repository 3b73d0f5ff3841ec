"""What a WSGI process sends in memory reaches nobody, which is told; by real servers, and once."""

import asyncio
import contextlib
import urllib.request

import pytest
from asgiref.sync import async_to_sync
from django.core import mail, signals
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test.client import ClientHandler

from channels.layers import InMemoryChannelLayer, nowhere
from tests.processes import ServerProcess, environment

PROJECT = """
import django
from asgiref.sync import async_to_sync
from django.conf import settings

settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    LOGGING={
        "version": 1,
        "handlers": {"all": {"class": "logging.StreamHandler"}},
        "loggers": {"channels": {"handlers": ["all"]}},
    },
)
django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from channels.layers import get_channel_layer


def announce(request):
    async_to_sync(get_channel_layer().group_send)("news", {"type": "news"})
    return HttpResponse("announced")


urlpatterns = [path("", announce)]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
"""

GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket"]
SERVERS = {
    "gunicorn sync": ([*GUNICORN, "site_of_views:wsgi"], 1),
    "gunicorn threads": ([*GUNICORN, "--threads", "4", "site_of_views:wsgi"], 1),
    "uvicorn": (["-m", "uvicorn", "--port", "{port}", "site_of_views:asgi"], 0),
}


@pytest.mark.server
@pytest.mark.parametrize("name", SERVERS)
def test_views_under_wsgi_are_told_once(tmp_path, name):
    command, expected = SERVERS[name]
    (tmp_path / "site_of_views.py").write_text(PROJECT, encoding="utf-8")
    log = tmp_path / "log"
    with ServerProcess(command, cwd=tmp_path, log=log, env=environment()) as server:
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=30) as answer:
                assert answer.read() == b"announced"
    said = log.read_text("utf-8")
    assert said.count("reaches nobody, as the message to group news now") == expected, said


@pytest.fixture
def outside_tests(monkeypatch):
    """As in a process that has just started, and that is no test's."""
    monkeypatch.setattr(nowhere, "_serves_wsgi", False)
    monkeypatch.setattr(nowhere, "_told", False)
    monkeypatch.delattr(mail, "outbox")
    monkeypatch.setattr(signals.request_started, "receivers", [])  # Django's close connections
    nowhere.watch()


def lines(caplog):
    return [record for record in caplog.records if record.name == "channels.layers"]


def send():
    async_to_sync(InMemoryChannelLayer().group_send)("news", {"type": "news"})


@pytest.mark.usefixtures("outside_tests")
@pytest.mark.parametrize(("handler", "expected"), [(WSGIHandler, 1), (ASGIHandler, 0)])
def test_the_first_request_tells_what_the_process_serves(caplog, handler, expected):
    send()
    assert not lines(caplog)  # a command, or a server to which nobody has come
    for later in (handler, WSGIHandler, ASGIHandler):
        signals.request_started.send(sender=type("Own", (later,), {}))
        send()
    assert len(lines(caplog)) == expected


@pytest.mark.usefixtures("outside_tests")
def test_a_layer_that_somebody_uses_is_not_complained_of(caplog):
    layer = InMemoryChannelLayer()
    signals.request_started.send(sender=WSGIHandler)

    async def use():
        receiver = asyncio.ensure_future(layer.receive("a"))
        await asyncio.sleep(0)
        await layer.group_send("news", {"type": "news"})
        receiver.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await receiver
        await layer.group_add("others", "a")
        await layer.group_send("news", {"type": "news"})

    asyncio.run(use())
    assert not lines(caplog)


@pytest.mark.usefixtures("outside_tests")
def test_nothing_is_said_in_tests(caplog, monkeypatch):
    signals.request_started.send(sender=ClientHandler)
    send()
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    signals.request_started.send(sender=WSGIHandler)  # a live server's
    send()
    assert not lines(caplog)
