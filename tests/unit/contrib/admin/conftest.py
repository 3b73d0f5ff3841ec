"""The app in a project, and people with different rights."""

import json

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.test import Client, override_settings

from channels.layers import InMemoryChannelLayer, channel_layers
from tests import settings as base
from tests.asgi import Server, until

APPS = [
    *base.INSTALLED_APPS,
    "django.contrib.messages",
    "django.contrib.admin",
    "channels.contrib.admin",
]
SETTINGS = {
    "ALLOWED_HOSTS": ["testserver"],
    "ROOT_URLCONF": "tests.unit.contrib.admin.urls",
    "MIDDLEWARE": [*base.MIDDLEWARE, "django.contrib.messages.middleware.MessageMiddleware"],
    "STATIC_URL": "/static/",
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
}
PAGE = "/admin/channels_admin/liveconnection/"


@pytest.fixture(autouse=True)
def project():
    former = channel_layers.set("default", InMemoryChannelLayer())
    with override_settings(**SETTINGS), override_settings(INSTALLED_APPS=APPS):
        yield django_settings
    channel_layers.set("default", former)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """The tables of the apps that only these tests have, once for all.

    A table made and dropped per test would need the whole database for itself, while a thread that
    a test has left may still read from it.
    """
    from django.core.management import call_command

    with django_db_blocker.unblock(), override_settings(**SETTINGS, INSTALLED_APPS=APPS):
        call_command("migrate", verbosity=0)


@pytest.fixture
def tables(transactional_db, project):
    """The database, with what ``migrate`` writes into it and other tests may have removed."""
    from django.apps import apps
    from django.contrib.auth.management import create_permissions
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.clear_cache()
    create_permissions(apps.get_app_config("channels_admin"), verbosity=0)
    yield
    ContentType.objects.clear_cache()


def person(name, *permissions, **fields):
    from django.contrib.auth.models import Permission

    user = get_user_model().objects.create_user(name, password="secret", **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


VIEW, DISCONNECT = "view_liveconnection", "disconnect_liveconnection"


@pytest.fixture
def people(tables):
    return {
        "plain": person("plain", VIEW, DISCONNECT),
        "staff": person("staff", is_staff=True),
        "viewer": person("viewer", VIEW, is_staff=True),
        "operator": person("operator", VIEW, DISCONNECT, is_staff=True),
        "root": person("root", is_staff=True, is_superuser=True),
    }


def client_of(user):
    client = Client()
    client.force_login(user)
    return client


class Socket:
    """A page's WebSocket."""

    def __init__(self, server, user, *, disconnect=True):
        from channels.contrib.admin.rights import admit

        self.server = server
        self.page = admit(user, disconnect=disconnect)

    def send(self, kind, **fields):
        self.server.text(json.dumps({"type": kind, **fields}))

    def watch(self, **fields):
        self.send("watch", page=self.page, **fields)

    def all(self, kind):
        messages = [json.loads(text) for text in self.server.texts()]
        return [message for message in messages if message["type"] == kind]

    async def next(self, kind, after=0):
        await until(lambda: len(self.all(kind)) > after)
        return self.all(kind)[-1]

    async def closed(self):
        await until(lambda: self.server.types()[-1] == "websocket.close")
        return self.server.sent[-1]["code"]


def headers_of(cookies, origin="http://testserver"):
    return [
        (b"host", b"testserver"),
        (b"origin", origin.encode()),
        (b"cookie", "; ".join(f"{key}={cookies[key].value}" for key in cookies).encode()),
    ]


@pytest.fixture
async def connect(people):
    from asgiref.sync import sync_to_async

    from channels.contrib.admin import live_route
    from channels.routing import URLRouter

    router = URLRouter([live_route()])
    opened = []

    async def connect(name=None, origin="http://testserver", **how):
        cookies = {}
        if name is not None:
            cookies = (await sync_to_async(client_of)(people[name])).cookies
        headers = headers_of(cookies, origin)
        server = await Server(router, path="/channels/live/", headers=headers).connect()
        opened.append(server)
        return Socket(server, people[name or "plain"], **how)

    yield connect
    for server in opened:
        if not server.task.done():
            await server.leave()
