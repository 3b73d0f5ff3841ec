"""The numbers, and who may see them."""

import os
from typing import Any

from asgiref.sync import async_to_sync
from channels import signals
from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, SimpleTestCase, TestCase
from django.urls import reverse

from dashboard.metrics import TROUBLE, Metrics
from showcase.testing import sign_out, socket_of


class SomeConsumer:
    """Opens and closes no connection, but could."""


class MetricsTests(SimpleTestCase):
    def test_they_count_what_signals_tell(self) -> None:
        metrics = Metrics()
        metrics.listen()
        scope = {"type": "websocket"}
        for signal in (signals.connection_opened,) * 2 + (signals.connection_closed,):
            signals.emit(signal, SomeConsumer, scope=scope)
        for signal in TROUBLE.values():
            signals.emit(signal, SomeConsumer, scope=scope)
        snapshot = metrics.snapshot()
        consumers = [{"name": "SomeConsumer", "protocol": "websocket", "open": 1}]
        self.assertEqual(snapshot["consumers"], consumers)
        self.assertEqual(snapshot["opened"], 2)
        self.assertEqual(snapshot["trouble"], dict.fromkeys(TROUBLE, 1))
        self.assertEqual(snapshot["process"]["pid"], os.getpid())


class DashboardTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice = create_user("alice", is_staff=True)
        cls.carol = create_user("carol")

    def setUp(self) -> None:
        async_to_sync(get_channel_layer().flush)()

    async def open(self, user: Any, client: Client | None = None) -> WebsocketCommunicator:
        socket = await socket_of(user, "/ws/dashboard/", client=client)
        await socket.connect()
        return socket

    async def snapshot(self, socket: WebsocketCommunicator) -> dict[str, Any]:
        snapshot = await socket.receive_json_from(timeout=10)
        self.assertEqual(snapshot["type"], "snapshot")
        return snapshot

    async def test_it_shows_this_connection_and_what_layers_carry(self) -> None:
        alice = await self.open(self.alice)
        before = await self.snapshot(alice)
        [own] = [c for c in before["consumers"] if c["name"] == "DashboardConsumer"]
        self.assertEqual((own["protocol"], own["open"] >= 1), ("websocket", True))
        layer = get_channel_layer()
        await layer.send("somebody", {"type": "hello"})
        after = await self.snapshot(alice)
        sent = [s["layers"][0]["sent"] for s in (before, after)]
        self.assertEqual(sent[1] - sent[0], 1)
        self.assertEqual(after["layers"][0]["pending"], 1)
        self.assertGreater(after["at"], before["at"])
        await alice.disconnect()

    async def test_it_rests_when_nobody_looks(self) -> None:
        alice = await self.open(self.alice)
        await self.snapshot(alice)
        await alice.send_json_to({"type": "rest"})
        await alice.send_json_to({"type": "?"})
        while (await alice.receive_json_from())["type"] != "error":
            pass
        self.assertTrue(await alice.receive_nothing(1.2))
        await alice.send_json_to({"type": "look"})
        await self.snapshot(alice)
        await alice.disconnect()

    async def test_only_staff_may_see_it(self) -> None:
        for user, code in ((None, CloseCode.UNAUTHORIZED), (self.carol, CloseCode.FORBIDDEN)):
            socket = await self.open(user)
            self.assertEqual((await socket.receive_output())["code"], code)
            self.assertTrue(await socket.receive_nothing())
            await socket.disconnect()

    async def test_who_signs_out_sees_no_more(self) -> None:
        client = Client()
        alice = await self.open(self.alice, client)
        await self.snapshot(alice)
        await sign_out(self, client)
        while (event := await alice.receive_output())["type"] != "websocket.close":
            pass
        self.assertEqual(event["code"], CloseCode.UNAUTHORIZED)
        await alice.disconnect()

    async def test_what_cannot_be_understood_is_answered(self) -> None:
        alice = await self.open(self.alice)
        await self.snapshot(alice)
        await alice.send_json_to({"type": "rest"})
        for content in ({"type": "reset"}, {}, [], 1, None, "look"):
            with self.subTest(content=content):
                await alice.send_json_to(content)
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        await alice.send_to("no JSON")
        with self.assertRaises(ValueError):  # A server closes such a socket with 1007.
            await alice.receive_output()

    def test_the_page(self) -> None:
        page = reverse("dashboard")
        self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")
        self.client.force_login(self.carol)
        self.assertContains(self.client.get(page), "for staff only", status_code=403)
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(page), 'data-socket="/ws/dashboard/"')
