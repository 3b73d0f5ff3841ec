"""The page, what its buttons call, and its WebSocket."""

from dataclasses import asdict
from io import StringIO
from typing import Any

from channels.close_codes import CloseCode
from channels.contrib.progress import Progress
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse

from mysite.asgi import application
from studio.models import Order

from .test_orders import NEVER, SMALL, OrderTestCase


async def socket_of(user: Any) -> WebsocketCommunicator:
    """The page's socket, in the browser of ``user``; None has not signed in."""
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    if user is not None:
        client = Client()
        await client.aforce_login(user)
        headers.append((b"cookie", client.cookies.output(header="", attrs=[]).encode()))
    socket = WebsocketCommunicator(application, "/ws/progress/", headers)
    await socket.connect()
    return socket


@override_settings(TASKS=NEVER)
class PageTests(OrderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client.force_login(self.ada)

    def test_the_page_needs_an_account(self) -> None:
        self.assertContains(self.client.get(reverse("studio")), 'data-socket="/ws/progress/"')
        order = Order.objects.create(owner=self.ada, parameters=asdict(SMALL))
        self.client.logout()
        for path in ("/", "/orders/", f"/orders/{order.pk}/picture/"):
            page = self.client.get(path)
            self.assertRedirects(page, f"/sign-in/?next={path}")
        for path in ("", "cancel/", "resume/"):
            answer = self.client.post(f"/orders/{order.pk}/{path}")
            self.assertEqual(answer.status_code, 302)

    @override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
    def test_demo_accounts_work_and_are_made_once(self) -> None:
        get_user_model().objects.all().delete()
        for _ in range(2):
            call_command("create_demo", stdout=StringIO())
        self.client.logout()
        page = self.client.get(reverse("sign-in"))
        for name, password in settings.DEMO_ACCOUNTS.items():
            self.assertContains(page, f"Continue as <strong>{name}</strong>")
            self.assertTrue(self.client.login(username=name, password=password))

    def test_orders_are_placed_changed_cancelled_and_resumed(self) -> None:
        order = self.client.post("/orders/", asdict(SMALL)).json()
        self.assertEqual((order["state"], order["version"]), ("ordered", 1))
        self.assertEqual((order["title"], order["parameters"]), ("Waves in Dawn", asdict(SMALL)))
        path = f"/orders/{order['id']}/"
        changed = self.client.post(path, {**asdict(SMALL), "palette": "Ember"}).json()
        self.assertEqual((changed["title"], changed["version"]), ("Waves in Ember", 2))
        self.assertEqual(self.client.post(path + "cancel/").json()["state"], "cancelled")
        resumed = self.client.post(path + "resume/").json()
        self.assertEqual((resumed["state"], resumed["version"]), ("ordered", 3))
        self.assertEqual(self.client.get("/orders/").json(), {"orders": [resumed]})

    def test_a_picture_can_be_had_when_it_is_done(self) -> None:
        order = Order.objects.create(owner=self.ada, parameters=asdict(SMALL), picture=b"webp")
        path = f"/orders/{order.pk}/picture/"
        self.assertEqual(self.client.get(path).status_code, 404)
        order.advance(state=Order.State.DONE)
        self.assertEqual(order.as_dict()["picture"], f"{path}?version=1")
        answer = self.client.get(f"{path}?version=1")
        self.assertEqual((answer.content, answer["Content-Type"]), (b"webp", "image/webp"))
        self.assertIn("private", answer["Cache-Control"])

    def test_orders_of_others_are_not_there(self) -> None:
        order = Order.objects.create(owner=self.grace, parameters=asdict(SMALL), state="done")
        self.assertEqual(self.client.get("/orders/").json(), {"orders": []})
        self.assertEqual(self.client.get(f"/orders/{order.pk}/picture/").status_code, 404)
        for path in ("", "cancel/", "resume/"):
            answer = self.client.post(f"/orders/{order.pk}/{path}", asdict(SMALL))
            self.assertEqual(answer.status_code, 404)

    def test_what_cannot_be_ordered_is_told(self) -> None:
        answer = self.client.post("/orders/", {**asdict(SMALL), "detail": 10_000})
        self.assertEqual(answer.status_code, 400)
        self.assertIn("less than or equal to 240", answer.json()["problem"])
        self.assertEqual(self.client.post("/orders/").status_code, 400)
        for _ in range(4):
            self.client.post("/orders/", asdict(SMALL))
        self.assertEqual(self.client.post("/orders/", asdict(SMALL)).status_code, 409)

    async def test_customers_see_the_progress_of_their_own_orders(self) -> None:
        order = await Order.objects.acreate(owner=self.ada, parameters=asdict(SMALL))
        ada, grace = await socket_of(self.ada), await socket_of(self.grace)
        async with Progress(order.job, user=self.ada.pk, total=40) as progress:
            progress.report(current=10)
        report: dict[str, Any] = {}
        while report.get("state") != "finished":
            report = await ada.receive_json_from()
            self.assertEqual(report["job"], f"order-{order.pk}.1")
        late = await socket_of(self.ada)
        self.assertEqual((await late.receive_json_from()), report)
        self.assertTrue(await grace.receive_nothing())
        for socket in (ada, grace, late):
            await socket.disconnect()

    async def test_a_stranger_is_refused(self) -> None:
        stranger = await socket_of(None)
        self.assertEqual((await stranger.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await stranger.disconnect()
