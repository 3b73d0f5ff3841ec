"""Applications behind tokens, and clients that present some."""

import contextlib

from django.contrib.auth import get_user_model

from channels.db import database_sync_to_async
from channels.exceptions import TokenRefused
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.security.tokens import Identity, TokenAuthMiddleware
from tests.asgi import Server

EXTENSIONS = {"websocket.http.response": {}}


class User:
    is_authenticated = True

    def __init__(self, pk=1, is_active=True):
        self.pk = pk
        self.is_active = is_active


ANNA = User()


class Known:
    """Knows some tokens by heart, or raises what it is told to raise."""

    def __init__(self, one_time=False, schemes=("Bearer",), **tokens):
        self.tokens = tokens
        self.one_time = one_time
        self.schemes = schemes
        self.asked = []

    async def verify(self, token):
        self.asked.append(token)
        found = self.tokens.get(token)
        if isinstance(found, Exception):
            raise found
        return found


def known(**tokens):
    return Known(good=Identity(ANNA), bad=TokenRefused("it is bad"), **tokens)


class Echo(AsyncWebsocketConsumer):
    """Tells what it finds in its scope."""

    seen = None

    async def connect(self):
        type(self).seen = self.scope
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data is not None:
            await self.send(text_data)


def application(verifiers=None, consumer=Echo, **options):
    return TokenAuthMiddleware(consumer.as_asgi(), verifiers or known(), **options)


def bearer(token):
    return [(b"authorization", b"Bearer " + token.encode())]


def client(app, headers=(), **scope):
    scope = {"extensions": EXTENSIONS, "subprotocols": [], **scope}
    return Server(app, headers=list(headers), **scope)


@contextlib.asynccontextmanager
async def connected(app, headers=(), **scope):
    server = await client(app, headers, **scope).connect()
    assert server.types() == ["websocket.accept"]
    try:
        yield server
    finally:
        await server.leave()


async def refused(app, headers=(), **scope):
    """The status and the headers of a refusal."""
    server = await client(app, headers, **scope).connect()
    await server.ended()
    start = server.sent[0]
    return start.get("status", start["type"]), dict(start.get("headers", ()))


def in_thread(function, *args, **kwargs):
    return database_sync_to_async(function)(*args, **kwargs)


def create_user(name="anna", **fields):
    return get_user_model().objects.create_user(name, password="secret", **fields)
