"""The WebSocket, through all that the server runs: origin check, session, route, consumer."""

import uuid
from typing import Any

from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, TestCase, override_settings

from chat.models import HISTORY_LENGTH, Message, Room
from showcase.testing import sign_out, socket_of

CAPACITY = 5
SMALL_LAYER = {
    "default": {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": CAPACITY},
    }
}


def say(text: Any, key: Any = None) -> dict[str, Any]:
    """What a page sends to say ``text``."""
    return {"type": "say", "key": uuid.uuid4().hex if key is None else key, "text": text}


class ChatTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice = create_user("alice", password="wonderland")
        cls.bob = create_user("bob", password="builder-bob")
        cls.room = Room.objects.create(name="Lobby")
        cls.other_room = Room.objects.create(name="Elsewhere")

    async def open(
        self,
        user: Any,
        room_pk: int | None = None,
        origin: bytes = b"http://localhost",
        client: Client | None = None,
    ) -> WebsocketCommunicator:
        """A socket of the room's page in a browser of ``user``; ``None`` has not signed in."""
        path = f"/ws/rooms/{self.room.pk if room_pk is None else room_pk}/"
        return await socket_of(user, path, origin, client)

    async def enter(
        self, user: Any, room: Room | None = None, client: Client | None = None
    ) -> WebsocketCommunicator:
        """A socket in ``room`` that has received its history and its own arrival."""
        socket = await self.open(user, room.pk if room else None, client=client)
        accepted, _ = await socket.connect()
        self.assertTrue(accepted)
        self.assertEqual((await socket.receive_json_from())["type"], "history")
        joined = {"type": "joined", "user": user.get_username()}
        self.assertEqual(await socket.receive_json_from(), joined)
        return socket

    async def enter_both(self) -> tuple[WebsocketCommunicator, WebsocketCommunicator]:
        """Alice and Bob in one room, with nothing left to receive."""
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        self.assertEqual(await alice.receive_json_from(), {"type": "joined", "user": "bob"})
        return alice, bob

    async def assert_closed(self, socket: WebsocketCommunicator, code: int) -> None:
        event = await socket.receive_output()
        self.assertEqual((event["type"], event["code"]), ("websocket.close", code))

    async def test_everybody_in_the_room_gets_the_message(self) -> None:
        alice, bob = await self.enter_both()
        await alice.send_json_to(say("  Hello <b>Bob</b>  "))
        event = await bob.receive_json_from()
        self.assertEqual(event, await alice.receive_json_from())
        message = await Message.objects.select_related("author").aget()
        self.assertEqual(event, message.as_event())
        self.assertEqual((event["author"], event["text"]), ("alice", "Hello <b>Bob</b>"))
        await alice.disconnect()
        self.assertEqual(await bob.receive_json_from(), {"type": "left", "user": "alice"})
        await bob.disconnect()

    async def test_a_message_that_is_sent_again_is_said_once(self) -> None:
        alice, bob = await self.enter_both()
        message = say("Hello")
        await alice.send_json_to(message)
        said = await alice.receive_json_from()
        self.assertEqual(said["key"], message["key"])
        self.assertEqual(await bob.receive_json_from(), said)
        await alice.send_json_to(message)
        self.assertEqual(await alice.receive_json_from(), said)
        # Somebody else's message with this key is another one.
        await bob.send_json_to(message)
        self.assertEqual((await bob.receive_json_from())["author"], "bob")
        self.assertEqual((await alice.receive_json_from())["author"], "bob")
        self.assertEqual(await Message.objects.acount(), 2)
        await alice.disconnect()
        await bob.disconnect()

    async def test_another_room_hears_nothing(self) -> None:
        alice = await self.enter(self.alice)
        bob = await self.enter(self.bob, self.other_room)
        await alice.send_json_to(say("Hello"))
        self.assertEqual((await alice.receive_json_from())["text"], "Hello")
        await alice.send_json_to({"type": "typing"})
        self.assertEqual((await alice.receive_json_from())["type"], "typing")
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

    async def test_everybody_sees_who_is_typing(self) -> None:
        alice, bob = await self.enter_both()
        await alice.send_json_to({"type": "typing"})
        for socket in (alice, bob):
            event = await socket.receive_json_from()
            self.assertEqual(event, {"type": "typing", "user": "alice"})
        await alice.disconnect()
        await bob.disconnect()

    async def test_who_has_read_what_is_kept_and_never_moves_back(self) -> None:
        first, second = [
            await Message.objects.acreate(room=self.room, author=self.alice, text=text)
            for text in ("One", "Two")
        ]
        elsewhere = await Message.objects.acreate(
            room=self.other_room, author=self.alice, text="Three"
        )
        alice, bob = await self.enter_both()
        read = {"type": "read", "user": "bob"}
        await bob.send_json_to({"type": "read", "id": first.pk})
        self.assertEqual(await alice.receive_json_from(), read | {"id": first.pk})
        # These are old, not of this room, or not there. Only the last one is news.
        for pk in (first.pk, elsewhere.pk, 0, -1, 2**62, second.pk, first.pk, second.pk):
            await bob.send_json_to({"type": "read", "id": pk})
        self.assertEqual(await alice.receive_json_from(), read | {"id": second.pk})
        self.assertTrue(await alice.receive_nothing())
        self.assertEqual(await self.room.read_marks(), {"bob": second.pk})
        self.assertEqual(await self.other_room.read_marks(), {})
        await bob.disconnect()
        bob = await self.open(self.bob)
        await bob.connect()
        self.assertEqual((await bob.receive_json_from())["read"], {"bob": second.pk})
        await alice.disconnect()
        await bob.disconnect()

    async def test_what_cannot_be_said_is_refused_and_not_saved(self) -> None:
        alice, bob = await self.enter_both()
        bad = ["", " \n ", "x" * 501, "\0", None]
        for message in [*map(say, bad), say("Hello", "no key"), say("Hello", 7), {"type": "say"}]:
            with self.subTest(message=message):
                await alice.send_json_to(message)
                refused = await alice.receive_json_from()
                self.assertEqual(refused["type"], "refused")
                self.assertEqual(refused["key"], message.get("key"))
                self.assertTrue(refused["text"])
        self.assertFalse(await Message.objects.aexists())
        self.assertTrue(await bob.receive_nothing())
        await alice.send_json_to(say("x" * 500))
        self.assertEqual((await alice.receive_json_from())["type"], "message")
        await alice.disconnect()
        await bob.disconnect()

    async def test_what_no_page_sends_is_answered(self) -> None:
        alice = await self.enter(self.alice)
        old = {"text": "Hello"}
        for content in [old, {}, [], 1, None, "say", {"type": "dance"}, {"type": ["say"]}]:
            with self.subTest(content=content):
                await alice.send_json_to(content)
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        for pk in (None, "1", 1.5, [1]):
            with self.subTest(pk=pk):
                await alice.send_json_to({"type": "read", "id": pk})
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        self.assertFalse(await Message.objects.aexists())
        await alice.disconnect()

    async def test_a_frame_that_is_no_json_ends_the_connection(self) -> None:
        alice = await self.enter(self.alice)
        await alice.send_to(text_data="Hello")
        with self.assertRaises(ValueError):  # A server closes the socket with 1007 instead.
            await alice.receive_output()

    @override_settings(CHANNEL_LAYERS=SMALL_LAYER)
    async def test_after_lost_messages_the_history_comes_anew(self) -> None:
        alice = await self.enter(self.alice)
        # No turn of the event loop between them, so the consumer cannot keep up.
        with self.assertLogs("channels", "WARNING"):
            for number in range(CAPACITY + 1):
                event = {"type": "room.event", "event": {"type": "typing", "user": str(number)}}
                await get_channel_layer().group_send(f"room.{self.room.pk}", event)
        types = [(await alice.receive_json_from())["type"] for _ in range(CAPACITY + 1)]
        self.assertIn("history", types)
        await alice.disconnect()

    async def test_who_has_not_signed_in_is_told_so(self) -> None:
        socket = await self.open(None)
        await socket.connect()
        await self.assert_closed(socket, CloseCode.UNAUTHORIZED)
        self.assertTrue(await socket.receive_nothing())
        await socket.disconnect()

    async def test_the_end_of_the_session_is_the_end_of_its_sockets(self) -> None:
        client = Client()
        alice = await self.enter(self.alice, client=client)
        alice_elsewhere = await self.enter(self.alice)
        await sign_out(self, client)
        self.assertEqual((await alice.receive_json_from())["type"], "joined")
        await self.assert_closed(alice, CloseCode.UNAUTHORIZED)
        await alice.disconnect(CloseCode.UNAUTHORIZED)
        self.assertEqual((await alice_elsewhere.receive_json_from())["type"], "left")
        self.assertTrue(await alice_elsewhere.receive_nothing())
        await alice_elsewhere.disconnect()

    async def test_unknown_room(self) -> None:
        for room_pk in (0, 10**30):
            with self.subTest(room_pk=room_pk):
                socket = await self.open(self.alice, room_pk)
                await socket.connect()
                await self.assert_closed(socket, CloseCode.NOT_FOUND)
                await socket.disconnect()

    async def test_another_site_may_not_connect(self) -> None:
        socket = await self.open(self.alice, origin=b"https://evil.example")
        with self.assertLogs("channels", "WARNING"):
            accepted, _ = await socket.connect()
        self.assertFalse(accepted)
