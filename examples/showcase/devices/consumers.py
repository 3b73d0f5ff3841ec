"""The bridge between MQTT and the channel layer, and the WebSockets of the pages."""

import asyncio
import contextlib
import json
import logging
from typing import Any

import aiomqtt
from channels.close_codes import CloseCode
from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings

from showcase.sessions import group_of

from .broker import broker, free_port
from .house import House, is_brightness
from .mqtt import NAME, PREFIX, Address, keep_connected
from .simulation import household

logger = logging.getLogger(__name__)

#: The channel of the bridge, and the group of those who watch.
CHANNEL, WATCHING = "devices", "devices.watching"
#: Seconds that the bridge goes on after it was last asked for. Pages ask every 5 seconds.
PATIENCE = 60
#: Seconds between two states that pages are told.
PACE = 0.1


class BridgeConsumer(AsyncConsumer):
    """Speaks MQTT with the devices, for all pages. Run it in one process only.

    It begins when somebody watches, and rests when nobody does. Without a broker of yours, it
    brings one along, and a few simulated devices.
    """

    def __init__(self) -> None:
        self.house = House()
        self.client: aiomqtt.Client | None = None
        self.news = asyncio.Event()
        self.running: asyncio.Task[None] | None = None
        self.kind = "MQTT"
        if settings.MQTT:
            self.address = Address.parse(settings.MQTT)
        else:
            self.broker = broker(free_port())
            self.address, self.kind = self.broker.address, self.broker.kind
            self.household = household()

    async def on_worker_shutdown(self) -> None:
        """End: the process ends, or a message could not be handled."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait([self.running])

    async def devices_watch(self, message: dict[str, Any]) -> None:
        """Somebody watches. A page that has just begun is told how things are."""
        loop = asyncio.get_running_loop()
        if self.running is None or self.running.done():
            self.patience = asyncio.timeout(PATIENCE)
            self.running = asyncio.create_task(self.run())
            self.running.add_done_callback(tell_failure)
        elif not self.patience.expired():
            self.patience.reschedule(loop.time() + PATIENCE)
        if message["reply_to"] is not None:
            await self.reply(message["reply_to"], self.as_event())

    async def devices_set(self, message: dict[str, Any]) -> None:
        """Somebody wants a device to change."""
        try:
            if self.client is None:
                raise aiomqtt.MqttError("There is no connection.")
            topic = f"{PREFIX}/{message['device']}/set"
            await self.client.publish(topic, json.dumps(message["command"]), qos=1)
        except aiomqtt.MqttError:
            text = "The broker is away, so the device was not told."
            await self.reply(message["reply_to"], {"type": "error", "text": text})

    async def run(self) -> None:
        """Bridge until nobody watches any more."""
        try:
            async with self.patience, contextlib.AsyncExitStack() as stack:
                if not settings.MQTT:
                    await stack.enter_async_context(self.broker)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(keep_connected(self.address, self.converse))
                    tasks.create_task(self.tell_news())
                    if not settings.MQTT:
                        for device in self.household:
                            tasks.create_task(device.live(self.address))
        except TimeoutError:
            if not self.patience.expired():
                raise

    async def converse(self, client: aiomqtt.Client) -> None:
        """Hear what devices say while the connection holds."""
        # What is retained comes again, and what is not there any more does not.
        rubbish, self.house = self.house.rubbish, House()
        self.house.rubbish = rubbish
        for kind in ("state", "online"):
            await client.subscribe(f"{PREFIX}/+/{kind}", qos=1)
        self.client = client
        self.news.set()
        try:
            async for message in client.messages:
                self.house.hear(message.topic.value, bytes(message.payload or b""))
                self.news.set()
        finally:
            self.client = None
            self.news.set()

    async def tell_news(self) -> None:
        """Tell all who watch, but not more often than they can see."""
        while True:
            await self.news.wait()
            self.news.clear()
            message = {"type": "devices.event", "event": self.as_event()}
            await self.channel_layer.group_send(WATCHING, message)
            await asyncio.sleep(PACE)

    def as_event(self) -> dict[str, Any]:
        """All that a page shows."""
        return {
            "type": "state",
            "broker": {
                "kind": self.kind,
                "address": str(self.address),
                "is_there": self.client is not None,
            },
            "devices": self.house.as_list(),
            "rubbish": self.house.rubbish,
        }

    async def reply(self, page: str, event: dict[str, Any]) -> None:
        """Tell one page."""
        with contextlib.suppress(ChannelFull):
            await self.channel_layer.send(page, {"type": "devices.event", "event": event})


def tell_failure(running: asyncio.Task[None]) -> None:
    """Log why the bridge has ended; the next page that asks for it starts it again."""
    if not running.cancelled() and running.exception() is not None:
        logger.error("The bridge to MQTT has ended", exc_info=running.exception())


class DevicesConsumer(AsyncJsonWebsocketConsumer):
    """One page that shows the devices.

    The page sends ``watch``, at first and then every 5 seconds, ``rest``, and ``set`` with
    ``device``, ``on`` and ``brightness``. It receives the ``state`` of everything whenever it
    changes, and ``error``.
    """

    is_watching = False

    async def connect(self) -> None:
        await self.accept()
        if not self.scope["user"].is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
            return
        session = group_of(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "watch"}:
                await self.watch()
            case {"type": "rest"}:
                self.is_watching = False
                await self.channel_layer.group_discard(WATCHING, self.channel_name)
            case {"type": "set", "device": str(name), "on": bool(on), "brightness": brightness} if (
                NAME.fullmatch(name) and is_brightness(brightness)
            ):
                command = {"on": on, "brightness": brightness}
                if not await self.tell_bridge("devices.set", device=name, command=command):
                    await self.refuse("The bridge to the devices has too much to do. Try again.")
            case _:
                await self.refuse("The server does not understand this page. Reload it.")

    async def watch(self) -> None:
        """Ask for the bridge, and for the present state if the page has just begun."""
        is_new, self.is_watching = not self.is_watching, True
        if is_new:
            await self.channel_layer.group_add(WATCHING, self.channel_name)
        await self.tell_bridge("devices.watch", wants_state=is_new)

    async def tell_bridge(self, kind: str, wants_state: bool = True, **content: Any) -> bool:
        """Send a message to the bridge, unless it is away or late."""
        reply_to = self.channel_name if wants_state else None
        try:
            message = {"type": kind, "reply_to": reply_to, **content}
            await self.channel_layer.send(CHANNEL, message)
        except ChannelFull:
            return False
        return True

    async def refuse(self, text: str) -> None:
        """Tell the page why something cannot be done."""
        await self.send_json({"type": "error", "text": text})

    async def devices_event(self, message: dict[str, Any]) -> None:
        """Pass on to the page what the bridge tells."""
        await self.send_json(message["event"])

    async def layer_gap(self, message: dict[str, Any]) -> None:
        """Ask for the present state, because messages of the channel layer were lost."""
        await self.tell_bridge("devices.watch")

    async def signed_out(self, message: dict[str, Any]) -> None:
        """End, because the session has ended."""
        await self.close(CloseCode.UNAUTHORIZED)
