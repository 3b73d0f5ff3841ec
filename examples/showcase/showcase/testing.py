"""What the tests of all apps need: requests and sockets as browsers make them, and workers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from channels.worker import Worker
from django.test import Client, TestCase

from mysite import workers
from mysite.asgi import application


async def headers_of(user: Any, client: Client | None = None) -> list[tuple[bytes, bytes]]:
    """What the browser of ``user`` sends with each request; ``None`` has not signed in.

    ``client`` is the browser, if it is to do more.
    """
    headers = [(b"host", b"localhost")]
    if user is not None:
        client = client or Client()
        await client.aforce_login(user)
        headers.append((b"cookie", client.cookies.output(header="", attrs=[]).encode()))
    return headers


async def socket_of(
    user: Any, path: str, origin: bytes = b"http://localhost", client: Client | None = None
) -> WebsocketCommunicator:
    """A socket at ``path``, not yet connected; ``None`` has not signed in.

    It goes through all that the server runs: origin check, session, route, consumer.
    """
    headers = [*await headers_of(user, client), (b"origin", origin)]
    return WebsocketCommunicator(application, path, headers)


async def sign_out(case: TestCase, client: Client) -> None:
    """End the session of this browser."""

    def sign_out() -> None:
        with case.captureOnCommitCallbacks(execute=True):
            client.logout()

    await sync_to_async(sign_out)()


@contextlib.asynccontextmanager
async def working(*channels: str) -> AsyncIterator[None]:
    """A worker on these channels, as in :mod:`mysite.workers`."""
    worker = Worker(workers.application, channels, get_channel_layer())
    running = asyncio.create_task(worker.handle())
    try:
        yield
    finally:
        worker.stop()
        await running
