"""The WebSockets of the pages that show orders."""

from typing import Any

from asgiref.sync import sync_to_async
from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, TestCase, override_settings
from django.urls import reverse

from orders.models import CUSTOMERS_MOVES, STAFF, STAFFS_MOVES, Item, Order, Status
from showcase.testing import sign_out, socket_of

SMALL_LAYER = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 5}}
}


class OrdersTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice, cls.carol = create_user("alice"), create_user("carol")
        cls.bob = create_user("bob", is_staff=True)
        cls.order = Order.objects.create(customer=cls.alice, item=Item.MUG)

    async def open(
        self, user: Any, path: str = "/ws/orders/", client: Client | None = None
    ) -> WebsocketCommunicator:
        socket = await socket_of(user, path, client=client)
        accepted, _ = await socket.connect()
        self.assertTrue(accepted)
        return socket

    async def enter(self, user: Any, path: str = "/ws/orders/") -> WebsocketCommunicator:
        """A socket that has received how things are."""
        socket = await self.open(user, path)
        self.assertEqual((await socket.receive_json_from())["type"], "orders")
        return socket

    @sync_to_async
    def press(self, user: Any, page: str, to: str) -> None:
        """Press a button, and let the transaction be committed."""
        self.client.force_login(user)
        with self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post(reverse(page, args=[self.order.pk]), {"to": to})
        self.assertEqual(answer.status_code, 204)

    async def test_all_tabs_hear_how_an_order_moves_on(self) -> None:
        tabs = [await self.enter(self.alice), await self.enter(self.alice)]
        staff = await self.enter(self.bob, "/ws/orders/all/")
        other = await self.enter(self.carol)
        await self.press(self.alice, "move-own-order", "paid")
        for tab in tabs:
            event = await tab.receive_json_from()
            self.assertEqual(event["type"], "order")
            self.assertEqual((event["order"]["status"], event["order"]["version"]), ("paid", 2))
            self.assertEqual(event["order"]["moves"], ["cancelled"])
        self.assertEqual(
            (await staff.receive_json_from())["order"]["moves"], ["packed", "cancelled"]
        )
        await self.press(self.bob, "move-order", "packed")
        for socket in (*tabs, staff):
            order = (await socket.receive_json_from())["order"]
            self.assertEqual((order["status"], order["version"]), ("packed", 3))
        self.assertTrue(await other.receive_nothing())
        for socket in (*tabs, staff, other):
            await socket.disconnect()

    async def test_a_new_order_appears(self) -> None:
        staff = await self.enter(self.bob, "/ws/orders/all/")

        @sync_to_async
        def place() -> None:
            self.client.force_login(self.carol)
            with self.captureOnCommitCallbacks(execute=True):
                self.client.post(reverse("orders"), {"item": "kettle"})

        await place()
        order = (await staff.receive_json_from())["order"]
        self.assertEqual((order["customer"], order["item"]), ("carol", "Kettle"))
        await staff.disconnect()

    async def test_a_page_that_comes_back_is_told_how_things_are(self) -> None:
        alice = await self.enter(self.alice)
        await alice.disconnect()
        await sync_to_async(self.order.move)(Status.PAID, CUSTOMERS_MOVES)
        await sync_to_async(self.order.move)(Status.PACKED, STAFFS_MOVES)
        alice = await self.open(self.alice)
        (order,) = (await alice.receive_json_from())["orders"]
        self.assertEqual((order["status"], order["moves"]), ("packed", []))
        await alice.disconnect()
        carol = await self.open(self.carol)
        self.assertEqual((await carol.receive_json_from())["orders"], [])
        await carol.disconnect()

    @override_settings(CHANNEL_LAYERS=SMALL_LAYER)
    async def test_a_page_that_has_missed_something_is_told_everything(self) -> None:
        staff = await self.enter(self.bob, "/ws/orders/all/")
        message = {"type": "order.changed", "order": {"status": "paid"}}
        with self.assertLogs("channels.layers", "WARNING"):
            for _ in range(10):  # more than its mailbox takes, before it has a turn
                await get_channel_layer().group_send(STAFF, message)
        while (await staff.receive_json_from())["type"] != "orders":
            pass
        await staff.disconnect()

    async def test_pages_have_nothing_to_say(self) -> None:
        alice = await self.enter(self.alice)
        for content in ({"type": "paid"}, {}, [], None, "x"):
            with self.subTest(content=content):
                await alice.send_json_to(content)
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        await alice.disconnect()

    async def test_who_signs_out_is_gone(self) -> None:
        client = Client()
        alice = await self.open(self.alice, client=client)
        await alice.receive_json_from()
        await sign_out(self, client)
        self.assertEqual((await alice.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await alice.disconnect()

    async def test_who_may_not_watch(self) -> None:
        for user, path, code in (
            (None, "/ws/orders/", CloseCode.UNAUTHORIZED),
            (None, "/ws/orders/all/", CloseCode.UNAUTHORIZED),
            (self.alice, "/ws/orders/all/", CloseCode.FORBIDDEN),
        ):
            with self.subTest(path=path, code=code):
                socket = await self.open(user, path)
                self.assertEqual((await socket.receive_output())["code"], code)
                await socket.disconnect()
