"""Connections to the broker, and what is said over them.

A device publishes two retained messages, which also those get who come late. The one on
``showcase/NAME/state`` is JSON; the one on ``showcase/NAME/online`` is ``1``, or ``0`` when the
connection of the device has broken (its last will). It listens to ``showcase/NAME/set``.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiomqtt

PREFIX = "showcase"
#: The names of devices.
NAME = re.compile(r"[a-z0-9-]{1,32}")
#: Seconds before another attempt to connect: the first limit, which doubles, and the last.
BACKOFF = (0.25, 8.0)
#: Seconds that the broker has for each answer, and after which a silent client counts as gone.
TIMEOUT, KEEPALIVE = 5.0, 10


class Address(NamedTuple):
    """Where a broker is."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """``HOST:PORT``; ``ValueError`` if it is not."""
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is no HOST:PORT")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


async def keep_connected(
    address: Address,
    converse: Callable[[aiomqtt.Client], Awaitable[None]],
    will: aiomqtt.Will | None = None,
) -> None:
    """Connect and call ``converse``, again whenever the connection breaks, for ever."""
    first, last = BACKOFF
    limit = first

    async def connect() -> None:
        nonlocal limit
        async with aiomqtt.Client(
            *address, will=will, timeout=TIMEOUT, keepalive=KEEPALIVE
        ) as client:
            limit = first
            await converse(client)

    while True:
        try:
            # In a task of its own, which a TaskGroup that fails leaves marked as if it had been
            # cancelled (Python 3.11 and 3.12).
            await asyncio.create_task(connect())
        except* aiomqtt.MqttError:
            pass
        if asyncio.current_task().cancelling():
            # The client could not part from the broker, and has raised that in the place of this.
            raise asyncio.CancelledError
        # Not all at once, when the broker comes back.
        await asyncio.sleep(random.uniform(limit / 2, limit))
        limit = min(2 * limit, last)
