"""What the tests of all apps need: a socket as the browser of somebody opens it."""

from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import Client

from mysite.asgi import application


async def socket_of(
    user: Any, path: str, origin: bytes = b"http://localhost"
) -> WebsocketCommunicator:
    """A socket at ``path``, not yet connected; ``None`` has not signed in.

    It goes through all that the server runs: origin check, session, route, consumer.
    """
    headers = [(b"host", b"localhost"), (b"origin", origin)]
    if user is not None:
        client = Client()
        await client.aforce_login(user)
        headers.append((b"cookie", client.cookies.output(header="", attrs=[]).encode()))
    return WebsocketCommunicator(application, path, headers)
