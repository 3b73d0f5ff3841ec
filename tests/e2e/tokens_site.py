"""A site whose page fetches tickets for its sockets."""

import os
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(os.environ["SITE_FOLDER"])

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
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "OPTIONS": {"timeout": 20},
        }
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from django.contrib.auth import get_user_model, login, logout  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import path  # noqa: E402

import channels  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.tokens import (  # noqa: E402
    SignedTokenVerifier,
    TicketVerifier,
    TicketView,
    TokenAuthMiddleware,
)

CLIENT = Path(channels.__file__).parent / "static" / "channels" / "channels.js"

PAGE = """<!DOCTYPE html>
<title>A page</title>
<ol id="log"></ol>
<script>{client}</script>
<script>
  const csrfToken = "{csrf}", token = "{token}";
  const log = (...words) => {{
    const line = document.createElement("li");
    line.textContent = words.join(" ");
    document.querySelector("#log").append(line);
  }};
  const watch = (name, socket) => {{
    socket.onopen = () => log(name, "open", socket.protocol || "-");
    socket.onmessage = ({{data}}) => log(name, "is", data);
    socket.onclose = ({{code}}) => log(name, "close", code);
    return socket;
  }};
  const byTicket = watch("ticket", new ReconnectingSocket("/ws/", {{
    fallback: false,
    before: async () => {{
      const headers = {{"X-CSRFToken": csrfToken}};
      const answer = await fetch("/ws-ticket/", {{method: "POST", headers}});
      if (answer.status === 401) return false;
      return `/ws/?ticket=${{(await answer.json()).ticket}}`;
    }},
  }}));
  const byToken = watch("token", new WebSocket("/ws/", ["channels.bearer", token]));
</script>
"""


def page(request):
    anna, _ = get_user_model().objects.get_or_create(username="anna")
    login(request, anna)
    token = SignedTokenVerifier().make_token(anna, lifetime=float(request.GET["lifetime"]))
    client = CLIENT.read_text()
    return HttpResponse(PAGE.format(client=client, csrf=get_token(request), token=token))


def leave(request):
    logout(request)
    return HttpResponse()


urlpatterns = [path("", page), path("out/", leave), path("ws-ticket/", TicketView.as_view())]


class Who(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(self.scope["user"].get_username() or "nobody")


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": TokenAuthMiddleware(
            URLRouter([path("ws/", Who.as_asgi())]),  # type: ignore[list-item]
            [SignedTokenVerifier(), TicketVerifier()],
        ),
    }
)
