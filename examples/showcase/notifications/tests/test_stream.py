"""The stream, through all that the server runs, whatever saves the notifications."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import HttpCommunicator
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import transaction
from django.test import Client, TestCase, override_settings
from django.urls import reverse

from mysite.asgi import application
from notifications.consumers import OVERLAP, SHOWN
from notifications.models import Notification
from notifications.signals import group_of
from showcase.testing import headers_of, sign_out

CAPACITY = 5
SMALL_LAYER = {
    "default": {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": CAPACITY},
    }
}


class Stream(HttpCommunicator):
    """A stream as a browser reads it."""

    async def open(self) -> None:
        """Send the request, and receive the beginning of the answer."""
        await self.send_input({"type": "http.request", "body": b"", "more_body": False})
        self.start = await self.receive_output()
        await self.receive_output()  # The delay after which a browser comes back.

    async def next(self) -> tuple[str, str | None, Any]:
        """The next event: its type, its id and what its text means."""
        part = await self.receive_output()
        fields = dict(line.split(": ", 1) for line in part["body"].decode().splitlines() if line)
        return fields["event"], fields.get("id"), json.loads(fields["data"] or "null")

    async def close(self) -> None:
        """Go, as a browser does when its tab is closed."""
        await self.send_input({"type": "http.disconnect"})
        await self.wait()


class StreamTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_superuser
        cls.alice, cls.bob = create_user("alice"), create_user("bob")

    async def open(
        self, user: Any, last_event_id: str | None = None, client: Client | None = None
    ) -> Stream:
        """The stream that the browser of ``user`` reads; ``None`` has not signed in."""
        headers = await headers_of(user, client)
        if last_event_id is not None:
            headers.append((b"last-event-id", last_event_id.encode()))
        stream = Stream(application, "GET", "/notifications/stream/", headers=headers)
        await stream.open()
        return stream

    async def commit(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make a change, and what follows when it is committed."""

        def make() -> Any:
            with self.captureOnCommitCallbacks(execute=True):
                return change(*args, **kwargs)

        return await sync_to_async(make)()

    async def assert_state(self, stream: Stream, unread: int) -> None:
        kind, _, state = await stream.next()
        self.assertEqual((kind, state["unread"]), ("state", unread))

    async def test_a_stream_begins_with_what_is_there(self) -> None:
        one, two = [
            await Notification.objects.acreate(person=self.alice, text=text, is_read=text == "One")
            for text in ("One", "Two")
        ]
        await Notification.objects.acreate(person=self.bob, text="For Bob")
        stream = await self.open(self.alice)
        headers = dict(stream.start["headers"])
        self.assertEqual(headers[b"content-type"].split(b";")[0], b"text/event-stream")
        for notification in (one, two):
            expected = ("notification", str(notification.pk), notification.as_event())
            self.assertEqual(await stream.next(), expected)
        shown = [{"id": two.pk, "read": False}, {"id": one.pk, "read": True}]
        self.assertEqual(await stream.next(), ("state", None, {"shown": shown, "unread": 1}))
        await stream.close()

    async def test_it_does_not_matter_who_saves(self) -> None:
        admin, page = Client(), Client()
        await admin.aforce_login(self.bob)
        await page.aforce_login(self.bob)
        form = {"person": self.alice.pk, "text": "Hello"}
        ways: dict[str, Callable[[], Any]] = {
            "view": lambda: page.post(reverse("send-notification"), form),
            "admin": lambda: admin.post(reverse("admin:notifications_notification_add"), form),
            "command": lambda: call_command("notify", "alice", "Hello", stdout=StringIO()),
            "shell": lambda: self.alice.notifications.create(text="Hello"),
        }
        tabs = [await self.open(self.alice), await self.open(self.alice)]
        bob = await self.open(self.bob)
        for stream in (*tabs, bob):
            await self.assert_state(stream, unread=0)
        for count, (way, save) in enumerate(ways.items(), 1):
            with self.subTest(way=way):
                await self.commit(save)
                for tab in tabs:
                    kind, _, event = await tab.next()
                    self.assertEqual((kind, event["text"]), ("notification", "Hello"))
                    await self.assert_state(tab, unread=count)
        self.assertTrue(await bob.receive_nothing())
        for stream in (*tabs, bob):
            await stream.close()

    async def test_what_is_rolled_back_is_not_told(self) -> None:
        def fail() -> None:
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                self.alice.notifications.create(text="Never")
                raise ZeroDivisionError

        stream = await self.open(self.alice)
        await self.assert_state(stream, unread=0)
        await self.commit(fail)
        self.assertTrue(await stream.receive_nothing())
        await stream.close()

    async def test_all_tabs_see_what_is_read_changed_and_deleted(self) -> None:
        one, two = [
            await Notification.objects.acreate(person=self.alice, text=text)
            for text in ("One", "Two")
        ]
        client = Client()
        tabs = [await self.open(self.alice, client=client), await self.open(self.alice)]
        for tab in tabs:
            await tab.next()
            await tab.next()
            await self.assert_state(tab, unread=2)
        await self.commit(client.post, reverse("read-one", args=[one.pk]))
        for tab in tabs:
            await self.assert_state(tab, unread=1)
        await self.commit(client.post, reverse("read-all"))
        for tab in tabs:
            await self.assert_state(tab, unread=0)
        two.text = "Changed"
        await self.commit(two.save)
        await self.commit(one.delete)
        for tab in tabs:
            self.assertEqual((await tab.next())[2]["text"], "Changed")
            await self.assert_state(tab, unread=1)
            shown = [{"id": two.pk, "read": False}]
            self.assertEqual(await tab.next(), ("state", None, {"shown": shown, "unread": 1}))
            await tab.close()

    async def test_who_comes_back_gets_what_was_missed(self) -> None:
        saved = [
            await Notification.objects.acreate(person=self.alice, text=str(number))
            for number in range(SHOWN + 5)
        ]
        texts = [notification.text for notification in saved]
        for last, expected in [
            (str(saved[-2].pk), texts[-1 - OVERLAP :]),
            (str(saved[0].pk), texts[-SHOWN:]),
            (str(10**30), []),
            ("-1", texts[-SHOWN:]),
            ("no number", texts[-SHOWN:]),
            ("²", texts[-SHOWN:]),
        ]:
            with self.subTest(last=last):
                stream = await self.open(self.alice, last)
                got = [(await stream.next())[2]["text"] for _ in expected]
                self.assertEqual(got, expected)
                await self.assert_state(stream, unread=SHOWN + 5)
                await stream.close()

    @override_settings(CHANNEL_LAYERS=SMALL_LAYER)
    async def test_after_lost_messages_the_stream_catches_up(self) -> None:
        layer = get_channel_layer()
        stream = await self.open(self.alice)
        await self.assert_state(stream, unread=0)
        await Notification.objects.acreate(person=self.alice, text="Not told")
        # No turn of the event loop between them, so the consumer cannot keep up.
        with self.assertLogs("channels", "WARNING"):
            for _ in range(CAPACITY + 1):
                await layer.group_send(group_of(self.alice.pk), {"type": "notifications.changed"})
        kinds = [(await stream.next())[0] for _ in range(CAPACITY + 1)]
        self.assertIn("notification", kinds)
        await stream.close()

    async def test_who_has_not_signed_in_is_told_so(self) -> None:
        stream = await self.open(None)
        self.assertEqual(await stream.next(), ("signed-out", None, None))
        self.assertEqual((await stream.receive_output())["more_body"], False)
        await stream.close()

    async def test_the_end_of_the_session_is_the_end_of_its_streams(self) -> None:
        client = Client()
        here, elsewhere = await self.open(self.alice, client=client), await self.open(self.alice)
        for stream in (here, elsewhere):
            await self.assert_state(stream, unread=0)
        await sign_out(self, client)
        self.assertEqual((await here.next())[0], "signed-out")
        self.assertTrue(await elsewhere.receive_nothing())
        await here.close()
        await elsewhere.close()
