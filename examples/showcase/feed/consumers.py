"""The feed, which is one consumer of a worker, and the WebSockets of the pages that watch it.

Pages are fed through a channel layer of their own, ``feed`` in the settings: a mailbox there holds
the updates of one second, and when it is full the oldest make room. So a page that is slower than
the feed misses updates, and what it shows is never older than that.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from typing import Any

from channels.close_codes import CloseCode
from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer

from showcase.sessions import group_of

from .market import NAMES, Market

logger = logging.getLogger(__name__)

#: The channel of the feed, the layer that carries its updates, and the group of those who watch.
CHANNEL, LAYER, WATCHING = "feed", "feed", "feed.watching"
#: Updates in a second, and the seconds that a page shows.
RATE, WINDOW = 20, 60
#: Seconds that the feed goes on after it was last asked for. Pages ask every 5 seconds.
PATIENCE = 12


class FeedConsumer(AsyncConsumer):
    """The one place where the data is made. Run it in one process only: ``mysite/workers.py``.

    It begins when somebody watches, and rests when nobody does.
    """

    def __init__(self) -> None:
        self.market = Market(seed=1)
        self.number = 0
        #: The updates of the last minute: number, milliseconds, values.
        self.past: deque[tuple[int, int, list[float]]] = deque(maxlen=RATE * WINDOW)
        self.loop: asyncio.Task[None] | None = None

    async def on_worker_shutdown(self) -> None:
        """End: the process ends, or a message could not be handled."""
        if self.loop is not None:
            self.loop.cancel()
            await asyncio.wait([self.loop])

    async def feed_watch(self, message: dict[str, Any]) -> None:
        """Somebody watches. A page that has just begun gets what it has missed."""
        self.until = time.monotonic() + PATIENCE
        is_running = self.loop is not None and not self.loop.done()
        if not is_running:
            self.catch_up()
        if (page := message["reply_to"]) is not None:
            with contextlib.suppress(ChannelFull):
                event = {"type": "history", "updates": list(self.past)}
                await get_channel_layer(LAYER).send(page, {"type": "feed.event", "event": event})
        if not is_running:
            self.loop = asyncio.create_task(self.run())
            self.loop.add_done_callback(tell_failure)

    async def run(self) -> None:
        """Make data until nobody watches."""
        layer, clock = get_channel_layer(LAYER), time.monotonic
        due = clock()
        while due < self.until:
            update = self.make(time.time())
            # Encoded once, however many watch.
            text = json.dumps({"type": "update", "update": update}, separators=(",", ":"))
            await layer.group_send(WATCHING, {"type": "feed.text", "text": text})
            # A feed that was held up does not hurry afterwards.
            due = max(due + 1 / RATE, clock())
            await asyncio.sleep(due - clock())

    def make(self, at: float) -> tuple[int, int, list[float]]:
        """Make one update, and keep it for a minute."""
        self.number += 1
        update = (self.number, round(at * 1000), self.market.step())
        self.past.append(update)
        return update

    def catch_up(self) -> None:
        """Make what nobody has watched, as far as a page shows it."""
        now = time.time()
        rested = min(WINDOW, now - self.past[-1][1] / 1000) if self.past else WINDOW
        for step in range(int(rested * RATE)):
            self.make(now - rested + step / RATE)


def tell_failure(loop: asyncio.Task[None]) -> None:
    """Log why the feed has stopped; the next page that asks for it starts it again."""
    if not loop.cancelled() and loop.exception() is not None:
        logger.error("The feed has stopped", exc_info=loop.exception())


class WatcherConsumer(AsyncJsonWebsocketConsumer):
    """One page that watches.

    The page sends ``watch``, at first and then every 5 seconds, and ``pause``. It receives
    ``series`` once, ``history`` whenever it begins to watch, and then each ``update``: its number,
    its time in milliseconds, and the values of all series. A number that is missing is an update
    that the page was too slow for.
    """

    channel_layer_alias = LAYER
    is_watching = False

    async def connect(self) -> None:
        await self.accept()
        if not self.scope["user"].is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
            return
        session = group_of(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)
        await self.send_json({"type": "series", "names": NAMES, "seconds": WINDOW})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "watch"}:
                await self.watch()
            case {"type": "pause"}:
                self.is_watching = False
                await self.channel_layer.group_discard(WATCHING, self.channel_name)
            case _:
                text = "The server does not understand this page. Reload it."
                await self.send_json({"type": "error", "text": text})

    async def watch(self) -> None:
        """Ask for the feed, and for what came before if the page has just begun."""
        reply_to = None if self.is_watching else self.channel_name
        if not self.is_watching:
            await self.channel_layer.group_add(WATCHING, self.channel_name)
            self.is_watching = True
        with contextlib.suppress(ChannelFull):  # It is away or late. The page goes on asking.
            message = {"type": "feed.watch", "reply_to": reply_to}
            await get_channel_layer().send(CHANNEL, message)

    async def feed_event(self, message: dict[str, Any]) -> None:
        """Something for this page alone."""
        await self.send_json(message["event"])

    async def feed_text(self, message: dict[str, Any]) -> None:
        """An update. While the page does not take it, later ones wait in the mailbox."""
        await self.send(text_data=message["text"])

    async def signed_out(self, message: dict[str, Any]) -> None:
        """End, because the session has ended."""
        await self.close(CloseCode.UNAUTHORIZED)
