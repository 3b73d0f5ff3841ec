"""What the pages of these tests connect to."""

import asyncio
import json
import os
import time
from pathlib import Path
from urllib.parse import parse_qs

from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django_application = get_asgi_application()

import channels  # noqa: E402
from channels.exceptions import DenyConnection, VerifierUnavailable  # noqa: E402
from channels.fallback import EventStreamFallback  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.tokens import Identity, TokenAuthMiddleware  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402

__all__ = ["application"]


class Echo(AsyncWebsocketConsumer):
    """Says who it is, and then what it is told; obeys orders."""

    async def connect(self):
        query = parse_qs(self.scope["query_string"].decode())
        if query.get("token", ["right"]) != ["right"]:
            raise DenyConnection
        await self.accept((self.scope["subprotocols"] or [None])[0])
        await self.send(f"pid {os.getpid()}")

    async def receive(self, text_data=None, bytes_data=None):
        if bytes_data is not None:
            await self.send(bytes_data=bytes_data)
        elif text_data.startswith("close "):
            _, code, reason = text_data.split(" ", 2)
            await self.close(int(code), reason)
        elif text_data.startswith("ponder "):
            await asyncio.sleep(float(text_data.removeprefix("ponder ")))
            await self.send("pondered")
        elif text_data.startswith("json "):
            json.loads(text_data.removeprefix("json "))
        else:
            await self.send(f"echo {text_data}")


class Named:
    """A user without a database."""

    pk = 7
    is_active = is_authenticated = True


USER = Named()


class Tokens:
    """A token is the number of seconds for which it is good, after a dash."""

    async def verify(self, token):
        if token == "away":
            raise VerifierUnavailable("it is away")
        _, _, seconds = token.partition("-")
        return Identity(USER, time.time() + float(seconds)) if seconds else None


class Signed(AsyncWebsocketConsumer):
    """Says whether anybody is signed in."""

    async def connect(self):
        await self.accept()
        await self.send(str(self.scope["user"].pk))


signed = TokenAuthMiddleware(Signed.as_asgi(), Tokens())
websocket = OriginValidator(
    URLRouter([path("ws/echo/", Echo.as_asgi()), path("ws/signed/", signed)]),  # type: ignore[list-item]
    ["*"],
)


PAGE = b"""<!DOCTYPE html>
<title>A page</title>
<ol id="log"></ol>
<script src="/channels.js"></script>
<script>
  const log = (...words) => {
    const line = document.createElement("li");
    line.textContent = words.join(" ");
    document.querySelector("#log").append(line);
  };
  const query = new URLSearchParams(location.search);
  const options = JSON.parse(query.get("options") || "{}");
  const socket = new ReconnectingSocket("/ws/echo/", options);
  socket.onopen = () => log("open", socket.transport);
  socket.onmessage = ({ data }) => log("message", data);
  socket.onclose = ({ code }) => log("close", code);
  addEventListener("error", ({ message }) => log("error", message));
</script>
"""
STATIC = Path(channels.__file__).parent / "static" / "channels"


async def answer(scope, receive, send):
    """A page, and the client."""
    found = {
        "/": (b"text/html", PAGE),
        "/channels.js": (b"text/javascript", (STATIC / "channels.js").read_bytes()),
    }
    kind, body = found.get(scope["path"], (b"text/plain", b"Not Found"))
    status = 200 if scope["path"] in found else 403 if scope["method"] == "POST" else 404
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


fallback = EventStreamFallback(websocket, answer)


async def http(scope, receive, send):
    """Offers the fallback for one route, and none for others."""
    application = answer if scope["path"] == "/ws/none/" else fallback
    await application(scope, receive, send)


application = ProtocolTypeRouter({"http": http, "websocket": websocket})
