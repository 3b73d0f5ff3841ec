"""The first mistakes of a project, each of which is told with its place and its remedy."""

import logging
import sys

import pytest
from asgiref.sync import sync_to_async
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.urls import include, path, re_path

from channels._runtime import installed
from channels.auth import AuthMiddlewareStack
from channels.exceptions import NoRouteFound
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter, get_default_application
from channels.sessions import SessionMiddlewareStack
from channels.testing import WebsocketCommunicator
from tests.asgi import Server

from .management.project import Project

pytestmark = pytest.mark.usefixtures("measured_processes")


def found(message_id):
    messages = checks.run_checks(tags=["channels"])
    return [message for message in messages if message.id == message_id]


# No middleware


def consumers(read):
    """Consumers that read the scope, and what they raised."""

    class Sync(WebsocketConsumer):
        def connect(self):
            read(self.scope)

    class Async(AsyncWebsocketConsumer):
        async def connect(self):
            self.room = self.scope["path"]
            read(self.scope)

    class InAThread(AsyncWebsocketConsumer):
        async def connect(self):
            await sync_to_async(read)(self.scope)

    return [Sync, Async, InAThread]


def read_user(scope):
    return scope["user"].is_authenticated


def read_session(scope):
    return scope["session"]["cart"]


def read_cookies(scope):
    return scope["cookies"]


def read_room(scope):
    return scope["url_route"]["kwargs"]["room"]


MISSING = [
    (read_user, "AuthMiddlewareStack"),
    (read_session, "SessionMiddlewareStack"),
    (read_cookies, "CookieMiddleware"),
    (read_room, "URLRouter puts it there"),
]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(("read", "middleware"), MISSING)
async def test_a_key_that_no_middleware_has_set_names_the_middleware(read, middleware, number):
    consumer = consumers(read)[number]
    with pytest.raises(KeyError, match=middleware) as missing:
        await WebsocketCommunicator(consumer.as_asgi(), "/").connect()
    assert len(missing.value.__notes__) == 1


async def test_the_log_of_a_server_names_it(caplog):
    server = await Server(consumers(read_user)[1].as_asgi()).connect()
    await server.ended()
    text = logging.Formatter().formatException(caplog.records[-1].exc_info)
    assert "The scope has no 'user'. AuthMiddleware puts it there" in text


async def test_middleware_that_needs_another_is_told_too():
    class Members(BaseMiddleware):
        async def __call__(self, scope, receive, send):
            if scope["user"].is_anonymous:
                raise AssertionError
            await super().__call__(scope, receive, send)

    application = ProtocolTypeRouter({"websocket": Members(AsyncWebsocketConsumer.as_asgi())})
    with pytest.raises(KeyError, match="AuthMiddlewareStack"):
        await WebsocketCommunicator(application, "/").connect()


@pytest.mark.django_db
@pytest.mark.parametrize("stack", [AuthMiddlewareStack, SessionMiddlewareStack])
async def test_a_key_of_something_else_is_not_explained(stack):
    class Consumer(AsyncWebsocketConsumer):
        async def connect(self):
            content = {"type": "chat"}
            self.scope.setdefault("user", "somebody")
            assert content["user"]

    application = ProtocolTypeRouter({"websocket": stack(Consumer.as_asgi())})
    with pytest.raises(KeyError) as missing:
        await WebsocketCommunicator(application, "/").connect()
    assert not hasattr(missing.value, "__notes__")


async def test_the_scope_is_a_dict_as_ever():
    class Consumer(AsyncWebsocketConsumer):
        async def connect(self):
            assert type(self.scope) is dict
            assert self.scope.get("user") is None
            await self.accept()

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/")
    assert await communicator.connect() == (True, None)
    await communicator.disconnect()


# ASGI_APPLICATION is a WSGI application


def wsgi_function(environ, start_response):
    """As Flask's are."""


class WsgiObject:
    def __call__(self, environ, start_response):
        """As those of WhiteNoise."""


wsgi_object = WsgiObject()
wsgi_django = None


@pytest.mark.parametrize("name", ["wsgi_function", "wsgi_object", "wsgi_django"])
def test_a_wsgi_application_is_called_one(name, settings, monkeypatch):
    from django.core.wsgi import get_wsgi_application

    monkeypatch.setattr(sys.modules[__name__], "wsgi_django", get_wsgi_application())
    settings.ASGI_APPLICATION = f"{__name__}.{name}"
    [message] = found("channels.E001")
    assert "is a WSGI application" in message.msg
    assert "get_asgi_application()" in message.msg
    with pytest.raises(ImproperlyConfigured, match="WSGI"):
        get_default_application()


async def asgi_function(scope, receive, send):
    """Three arguments."""


async def asgi_any(*arguments):
    """Any number of them."""


@pytest.mark.parametrize("name", ["asgi_function", "asgi_any"])
def test_an_asgi_application_is_not(name, settings):
    settings.ASGI_APPLICATION = f"{__name__}.{name}"
    assert get_default_application() is getattr(sys.modules[__name__], name)


# A slash in front of a route


def in_middleware(inner):
    async def application(scope, receive, send):
        return await inner(scope, receive, send)

    return application


echo = AsyncWebsocketConsumer.as_asgi()
slashed = ProtocolTypeRouter(
    {
        "websocket": AuthMiddlewareStack(
            in_middleware(
                URLRouter(
                    [
                        path("fine/", echo),
                        path("/ws/chat/", echo),
                        re_path(r"^/ws/other/$", echo),
                        re_path(r"^\/ws/escaped/$", echo),
                        path("a/", include([path("/b/", echo)])),
                        path("c/", in_middleware(URLRouter([path("/d/", echo)]))),
                        path("/e/", include([path("f/", echo)])),
                    ]
                )
            )
        )
    }
)


def test_every_route_with_a_slash_in_front_is_named(settings):
    settings.ASGI_APPLICATION = f"{__name__}.slashed"
    texts = [message.msg for message in found("channels.W012")]
    assert len(texts) == 6
    assert texts[0].startswith("The route '/ws/chat/' (to AsyncWebsocketConsumer) begins with a s")
    for pattern in ("^/ws/other/$", r"^\\/ws/escaped/$", "/b/", "/d/", "/e/"):
        assert any(repr(pattern)[1:-1].replace("\\\\\\\\", "\\\\") in text for text in texts), (
            pattern
        )


async def test_who_looks_for_the_path_is_told_of_the_slash():
    router = URLRouter([path("/ws/chat/", echo), path("in/", URLRouter([path("/d/", echo)]))])
    for place in ("/ws/chat/", "/in/d/"):
        with pytest.raises(NoRouteFound, match="No route found for path") as missing:
            await WebsocketCommunicator(router, place).connect()
        assert "begin with a slash, as '/ws/chat/' does" in str(missing.value)
    assert "as '/d/' does" in str(missing.value)


# channels is not in INSTALLED_APPS


@pytest.fixture
def reminded_anew():
    installed.remind.cache_clear()
    yield
    installed.remind.cache_clear()


def test_a_check_misses_the_app():
    assert found("channels.W011") == []
    with override_settings(INSTALLED_APPS=["django.contrib.contenttypes"]):
        [message] = found("channels.W011")
    assert "INSTALLED_APPS" in message.hint


@pytest.mark.parametrize(
    ("apps", "hint"),
    [
        (["django.contrib.contenttypes"], "Put 'channels' at the top of INSTALLED_APPS."),
        ([], "set DJANGO_SETTINGS_MODULE before Python starts"),
    ],
)
async def test_a_server_misses_the_app_once(reminded_anew, caplog, apps, hint):
    router = ProtocolTypeRouter({"websocket": echo})
    with override_settings(INSTALLED_APPS=apps):
        for _ in range(3):
            await (await Server(router).connect()).leave()
    [record] = [record for record in caplog.records if "INSTALLED_APPS" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert hint in record.getMessage()


async def test_a_server_has_nothing_to_say_of_an_app_that_is_there(reminded_anew, caplog):
    await (await Server(ProtocolTypeRouter({"websocket": echo})).connect()).leave()
    assert caplog.records == []


@pytest.mark.server
def test_manage_py_check_says_so_as_soon_as_an_app_imports_anything(tmp_path):
    project = Project(tmp_path)
    project.append("mysite/settings.py", "INSTALLED_APPS = ['mysite']")
    project.write("mysite/models.py", "from channels.layers import get_channel_layer")
    with project.manage("check") as process:
        process.wait()
    assert "channels.W011" in process.output
    assert "Put 'channels' at the top of INSTALLED_APPS" in process.output


@pytest.mark.server
def test_a_view_that_imports_anything_leaves_a_line_in_the_log(tmp_path):
    project = Project(tmp_path)
    project.append("mysite/settings.py", "INSTALLED_APPS = []")
    project.append("mysite/urls.py", "from channels.layers import get_channel_layer")
    with project.manage("check") as process:
        process.wait()
    assert process.output.count("'channels' is not in INSTALLED_APPS") == 1


# Consumers are imported before Django is set up

WRONG_ORDER = """
from django.core.asgi import get_asgi_application
from channels.routing import ProtocolTypeRouter, URLRouter
from chat.routing import routes

application = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter(routes)}
)
"""
RIGHT_ORDER = """
from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter
from chat.routing import routes

application = ProtocolTypeRouter(
    {"http": django_application, "websocket": URLRouter(routes)}
)
"""
ROUTING = """
from django.urls import path
from .consumers import Chat
routes = [path("ws/", Chat.as_asgi())]
"""
CONSUMERS = """
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.auth import AuthMiddlewareStack

class Chat(AsyncWebsocketConsumer):
    pass
"""


EARLY = """
from mysite import telemetry
from . import telemetry as relative
from .telemetry import logging
from chat import names
"""


@pytest.mark.server
@pytest.mark.parametrize(
    ("asgi", "model", "told"),
    [
        (WRONG_ORDER, "from .models import Message", True),
        (WRONG_ORDER, "from django.contrib.contenttypes.models import ContentType", True),
        (WRONG_ORDER, "from . import models", True),
        (WRONG_ORDER, "", False),
        (RIGHT_ORDER, "from .models import Message", False),
        (EARLY + RIGHT_ORDER, "from .models import Message", False),
    ],
)
def test_imports_that_come_too_early_are_named_with_their_line(tmp_path, asgi, model, told):
    project = Project(tmp_path)
    project.write("mysite/asgi.py", asgi)
    project.append(
        "mysite/settings.py",
        "INSTALLED_APPS += ['django.contrib.contenttypes', 'chat']\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n",
    )
    project.write("chat/__init__.py", "")
    project.write("chat/names.py", "def room(name): return name.lower()")
    project.write("mysite/telemetry.py", "import logging, channels.layers")
    project.write("chat/routing.py", ROUTING)
    project.write("chat/consumers.py", model + CONSUMERS)
    project.write(
        "chat/models.py",
        "from django.db import models\n"
        "class Message(models.Model):\n"
        "    text = models.TextField()\n",
    )
    with project.manage("check") as process:
        process.wait()
    assert ("channels.W013" in process.output) is told, process.output
    if told:
        assert "asgi.py, line 4, imports the model" in process.output
        assert "AppRegistryNotReady" in process.output
        assert "Call get_asgi_application() first" in process.output
    else:
        assert "no issues" in process.output
