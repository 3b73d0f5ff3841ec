"""The feed as pages and the worker see it."""

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, TestCase
from django.urls import reverse

from feed import consumers
from feed.consumers import CHANNEL, LAYER, RATE, WINDOW, WatcherConsumer
from feed.market import NAMES, Market
from showcase.testing import sign_out, socket_of, working


async def until(socket: WebsocketCommunicator, kind: str) -> Any:
    """The next event of this kind."""
    while (event := await socket.receive_json_from(timeout=10))["type"] != kind:
        pass
    return event


class MarketTests(TestCase):
    def test_the_same_seed_gives_the_same_prices(self) -> None:
        first, second = Market(seed=1), Market(seed=1)
        steps = [first.step() for _ in range(1000)]
        self.assertEqual(steps, [second.step() for _ in range(1000)])
        self.assertNotEqual(steps[0], Market(seed=2).step())
        self.assertTrue(all(50 < price < 200 for step in steps for price in step))


class FeedTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = get_user_model().objects.create_user("alice")

    def setUp(self) -> None:
        for alias in ("default", LAYER):
            async_to_sync(get_channel_layer(alias).flush)()

    async def open(self, client: Client | None = None) -> WebsocketCommunicator:
        socket = await socket_of(self.alice, "/ws/feed/", client=client)
        await socket.connect()
        series = await socket.receive_json_from()
        self.assertEqual((series["type"], series["names"]), ("series", NAMES))
        return socket

    async def test_updates_come_in_order_and_a_late_page_gets_what_was_before(self) -> None:
        async with working(CHANNEL):
            early = await self.open()
            await early.send_json_to({"type": "watch"})
            updates = (await until(early, "history"))["updates"]
            self.assertEqual(len(updates), RATE * WINDOW)
            updates += [(await until(early, "update"))["update"] for _ in range(5)]
            self.assertEqual([number for number, _, _ in updates], [*range(1, len(updates) + 1)])
            market = Market(seed=1)
            self.assertEqual([values for _, _, values in updates], [market.step() for _ in updates])
            late = await self.open()
            await late.send_json_to({"type": "watch"})
            past = (await until(late, "history"))["updates"]
            self.assertIn(updates[-1], past)
            following = (await until(late, "update"))["update"]
            self.assertLessEqual(following[0], past[-1][0] + 1)
            await early.disconnect()
            await late.disconnect()

    async def test_who_pauses_gets_nothing_until_it_continues(self) -> None:
        async with working(CHANNEL):
            socket = await self.open()
            await socket.send_json_to({"type": "watch"})
            before = (await until(socket, "update"))["update"]
            await socket.send_json_to({"type": "pause"})
            await socket.send_json_to({"type": "?"})
            await until(socket, "error")  # Whatever was on its way has come before this.
            self.assertTrue(await socket.receive_nothing(0.2))
            await socket.send_json_to({"type": "watch"})
            past = (await until(socket, "history"))["updates"]
            self.assertIn(before, past)
            await until(socket, "update")
            await socket.disconnect()

    async def test_a_slow_page_gets_the_newest(self) -> None:
        slow_page = SlowPage()
        socket = WebsocketCommunicator(slow_page, "/")
        layer = get_channel_layer(LAYER)
        await socket.connect()
        self.assertEqual((await socket.receive_json_from())["type"], "ready")
        with self.assertLogs("channels.layers", "WARNING"):
            for number in range(100):
                await layer.group_send("slow", {"type": "feed.text", "text": f"[{number}]"})
                await asyncio.sleep(0)
        slow_page.takes_more.set()
        received = [(await socket.receive_json_from())[0] for _ in range(1 + layer.capacity)]
        # One was in its hands; of those that came meanwhile, the last are there.
        self.assertEqual(received, [0, *range(100 - layer.capacity, 100)])
        await socket.disconnect()

    async def test_it_rests_when_nobody_watches_and_begins_again(self) -> None:
        patience, consumers.PATIENCE = consumers.PATIENCE, 0.2
        try:
            async with working(CHANNEL):
                socket = await self.open()
                await socket.send_json_to({"type": "watch"})
                await until(socket, "update")
                while not await socket.receive_nothing(0.5):
                    await until(socket, "update")
                await socket.send_json_to({"type": "watch"})
                await until(socket, "update")
                await socket.disconnect()
        finally:
            consumers.PATIENCE = patience

    async def test_what_cannot_be_understood_is_answered(self) -> None:
        socket = await self.open()
        for content in ({"type": "buy"}, {"type": ["watch"]}, {}, [], 1, None, "watch"):
            with self.subTest(content=content):
                await socket.send_json_to(content)
                self.assertEqual((await socket.receive_json_from())["type"], "error")
        await socket.send_to("no JSON")
        with self.assertRaises(ValueError):  # A server closes such a socket with 1007.
            await socket.receive_output()

    async def test_a_worker_that_is_away_disturbs_nobody(self) -> None:
        socket = await self.open()
        for _ in range(get_channel_layer().capacity + 10):
            await socket.send_json_to({"type": "watch"})
        await socket.send_json_to({"type": "?"})
        self.assertEqual((await socket.receive_json_from())["type"], "error")
        await socket.disconnect()

    async def test_who_has_not_signed_in_or_signs_out_is_told_so(self) -> None:
        stranger = await socket_of(None, "/ws/feed/")
        await stranger.connect()
        self.assertEqual((await stranger.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await stranger.disconnect()
        client = Client()
        alice = await self.open(client)
        await sign_out(self, client)
        self.assertEqual((await alice.receive_output())["code"], CloseCode.UNAUTHORIZED)

    def test_the_page_needs_an_account(self) -> None:
        page = reverse("feed")
        self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(page), 'data-socket="/ws/feed/"')


class SlowPage(WatcherConsumer):
    """A page that takes nothing for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.takes_more = asyncio.Event()

    async def connect(self) -> None:
        await self.accept()
        await self.channel_layer.group_add("slow", self.channel_name)
        await super().send(text_data='{"type": "ready"}')

    async def send(self, *args: Any, **kwargs: Any) -> None:
        await self.takes_more.wait()
        await super().send(*args, **kwargs)
