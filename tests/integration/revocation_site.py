"""A site where people sign in, talk over a WebSocket, and change their accounts."""

import json
import os
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(os.environ["SITE_FOLDER"])
ENGINE = os.environ["SITE_ENGINE"]

settings.configure(
    SECRET_KEY=os.environ.get("SITE_SECRET", "tests-only-tests-only-tests-only-tests-only"),
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "channels",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework.authtoken",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "OPTIONS": {"timeout": 20},
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": FOLDER / "cache",
        }
    },
    SESSION_ENGINE=f"django.contrib.sessions.backends.{ENGINE}",
    SESSION_FILE_PATH=str(FOLDER),
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": os.environ.get("SITE_LAYER", "channels_redis.core.RedisChannelLayer"),
            "CONFIG": {"hosts": [os.environ["SITE_BROKER"]], "prefix": FOLDER.name},
        }
    },
)
django.setup()

from django.contrib.auth import (  # noqa: E402
    alogout,
    get_user_model,
    login,
    logout,
    update_session_auth_hash,
)
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path, re_path  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.longpoll import AsyncLongPollConsumer  # noqa: E402
from channels.generic.sse import AsyncSseConsumer  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.revocation import disconnect_user  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.tokens import DRFTokenVerifier, TokenAuthMiddleware  # noqa: E402


def sign_in(request, name, expiry):
    login(request, get_user_model().objects.get(username=name))
    if expiry:
        request.session.set_expiry(expiry)
    return HttpResponse()


def do(request, what):
    user = request.user
    if what == "logout":
        logout(request)
    elif what == "password":
        user.set_password("another")
        user.save()
        update_session_auth_hash(request, user)
    elif what == "deactivation":
        user.is_active = False
        user.save()
    elif what == "deletion":
        get_user_model().objects.filter(pk=user.pk).delete()
    elif what == "token":
        Token.objects.filter(user=user).delete()
    elif what == "disconnect":
        disconnect_user(user, code=4000, reason="go away")
    return HttpResponse()


def token(request):
    return HttpResponse(Token.objects.create(user=request.user).key)


async def sign_out(request):
    await alogout(request)
    return HttpResponse()


urlpatterns = [
    path("in/<name>/<int:expiry>/", sign_in),
    path("out/", sign_out),
    path("do/<what>/", do),
    path("token/", token),
]


class Chat(WebsocketConsumer):
    def connect(self):
        if not self.scope["user"].is_authenticated:
            self.close()
        else:
            self.accept()

    def receive(self, text_data):
        self.send(json.dumps(self.scope["user"].username))


class Careless(Chat):
    ends_with_session = False


class Told:
    """Says to its client whose it is, in a group."""

    groups = ("room",)

    async def connect(self):
        user, session = self.scope["user"], self.scope.get("session")
        if not user.is_authenticated:
            await self.close()
            return
        await self.accept()
        await self.send_json(
            {
                "user": user.pk,
                "session": getattr(session, "session_key", None),
                "channel": self.channel_name,
            }
        )


class Socket(Told, AsyncJsonWebsocketConsumer):
    pass


class Events(Told, AsyncSseConsumer):
    pass


class Polls(Told, AsyncLongPollConsumer):
    pass


def by_token(consumer):
    return TokenAuthMiddleware(consumer.as_asgi(), DRFTokenVerifier())


http = URLRouter(
    [
        path("token/events/", by_token(Events)),  # type: ignore[arg-type]
        path("token/polls/", by_token(Polls)),  # type: ignore[arg-type]
        path("events/", AuthMiddlewareStack(Events.as_asgi())),  # type: ignore[arg-type]
        path("polls/", AuthMiddlewareStack(Polls.as_asgi())),  # type: ignore[arg-type]
        re_path("", get_asgi_application()),  # type: ignore[arg-type]
    ]
)

sockets = URLRouter(
    [
        path("ws/", Chat.as_asgi()),  # type: ignore[arg-type]
        path("careless/", Careless.as_asgi()),  # type: ignore[arg-type]
        path("socket/", Socket.as_asgi()),  # type: ignore[arg-type]
    ]
)

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                path("token/socket/", by_token(Socket)),  # type: ignore[arg-type]
                re_path("", AuthMiddlewareStack(sockets)),  # type: ignore[arg-type]
            ]
        ),
    }
)
