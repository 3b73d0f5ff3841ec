"""A site where people sign in, talk over a WebSocket, and change their accounts."""

import json
import os
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(os.environ["SITE_FOLDER"])
ENGINE = os.environ["SITE_ENGINE"]

settings.configure(
    SECRET_KEY="tests-only-tests-only-tests-only-tests-only",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "channels",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
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
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["SITE_BROKER"]], "prefix": FOLDER.name},
        }
    },
)
django.setup()

from django.contrib.auth import get_user_model, login, logout, update_session_auth_hash  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import WebsocketConsumer  # noqa: E402
from channels.revocation import disconnect_user  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402


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
    elif what == "disconnect":
        disconnect_user(user, code=4000, reason="go away")
    return HttpResponse()


urlpatterns = [path("in/<name>/<int:expiry>/", sign_in), path("do/<what>/", do)]


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


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [path("ws/", Chat.as_asgi()), path("careless/", Careless.as_asgi())]  # type: ignore[list-item]
            )
        ),
    }
)
