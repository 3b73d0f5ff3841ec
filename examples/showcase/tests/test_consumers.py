"""The WebSocket, through all that the server runs: origin check, session, route, consumer."""

from typing import Any

from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, TestCase

from chat.consumers import NO_SUCH_ROOM, SIGN_IN_FIRST
from chat.models import HISTORY_LENGTH, Message, Room
from mysite.asgi import application


class ChatTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice = create_user("alice", password="wonderland")
        cls.bob = create_user("bob", password="builder-bob")
        cls.room = Room.objects.create(name="Lobby")
        cls.other_room = Room.objects.create(name="Elsewhere")

    async def open(
        self, user: Any, room_pk: int | None = None, origin: bytes = b"http://localhost"
    ) -> WebsocketCommunicator:
        """A socket as the browser of ``user`` opens it; ``None`` has not signed in."""
        headers = [(b"host", b"localhost"), (b"origin", origin)]
        if user is not None:
            client = Client()
            await client.aforce_login(user)
            headers.append((b"cookie", client.cookies.output(header="", attrs=[]).encode()))
        path = f"/ws/rooms/{self.room.pk if room_pk is None else room_pk}/"
        return WebsocketCommunicator(application, path, headers)

    async def enter(self, user: Any, room: Room | None = None) -> WebsocketCommunicator:
        """A socket in ``room`` that has received its history and its own arrival."""
        socket = await self.open(user, room.pk if room else None)
        accepted, _ = await socket.connect()
        self.assertTrue(accepted)
        self.assertEqual((await socket.receive_json_from())["type"], "history")
        joined = {"type": "joined", "user": user.get_username()}
        self.assertEqual(await socket.receive_json_from(), joined)
        return socket

    async def assert_closed(self, socket: WebsocketCommunicator, code: int) -> None:
        event = await socket.receive_output()
        self.assertEqual((event["type"], event["code"]), ("websocket.close", code))

    async def test_everybody_in_the_room_gets_the_message(self) -> None:
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        self.assertEqual(await alice.receive_json_from(), {"type": "joined", "user": "bob"})
        await alice.send_json_to({"text": "  Hello <b>Bob</b>  "})
        event = await bob.receive_json_from()
        self.assertEqual(event, await alice.receive_json_from())
        message = await Message.objects.select_related("author").aget()
        self.assertEqual(event, message.as_event())
        self.assertEqual((event["author"], event["text"]), ("alice", "Hello <b>Bob</b>"))
        await alice.disconnect()
        self.assertEqual(await bob.receive_json_from(), {"type": "left", "user": "alice"})
        await bob.disconnect()

    async def test_another_room_hears_nothing(self) -> None:
        alice = await self.enter(self.alice)
        bob = await self.enter(self.bob, self.other_room)
        await alice.send_json_to({"text": "Hello"})
        self.assertEqual((await alice.receive_json_from())["text"], "Hello")
        self.assertTrue(await bob.receive_nothing())
        await alice.disconnect()
        await bob.disconnect()

    async def test_history_is_the_last_messages_oldest_first(self) -> None:
        texts = [f"Message {number}" for number in range(HISTORY_LENGTH + 5)]
        await Message.objects.abulk_create(
            Message(room=self.room, author=self.bob, text=text) for text in texts
        )
        alice = await self.open(self.alice)
        await alice.connect()
        history = await alice.receive_json_from()
        self.assertEqual([m["text"] for m in history["messages"]], texts[-HISTORY_LENGTH:])
        await alice.disconnect()

    async def test_what_cannot_be_accepted_is_answered_and_not_saved(self) -> None:
        alice = await self.enter(self.alice)
        bad = [{"text": ""}, {"text": " \n "}, {"text": "x" * 501}, {"text": "\0"}, {}, [], 1, None]
        for content in bad:
            with self.subTest(content=content):
                await alice.send_json_to(content)
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        self.assertFalse(await Message.objects.aexists())
        await alice.send_json_to({"text": "x" * 500})
        self.assertEqual((await alice.receive_json_from())["type"], "message")
        await alice.disconnect()

    async def test_who_has_not_signed_in_is_told_so(self) -> None:
        socket = await self.open(None)
        await socket.connect()
        await self.assert_closed(socket, SIGN_IN_FIRST)
        self.assertTrue(await socket.receive_nothing())
        await socket.disconnect()

    async def test_unknown_room(self) -> None:
        for room_pk in (0, 10**30):
            with self.subTest(room_pk=room_pk):
                socket = await self.open(self.alice, room_pk)
                await socket.connect()
                await self.assert_closed(socket, NO_SUCH_ROOM)
                await socket.disconnect()

    async def test_another_site_may_not_connect(self) -> None:
        socket = await self.open(self.alice, origin=b"https://evil.example")
        accepted, _ = await socket.connect()
        self.assertFalse(accepted)
