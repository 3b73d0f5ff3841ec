"""The WebSocket of a document's page."""

from base64 import b64decode, b64encode
from typing import Any

from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, TestCase, override_settings
from pycrdt import Doc, Text

from editor.consumers import LONGEST_FIELD
from editor.models import Document
from showcase.testing import sign_out, socket_of

SMALL_LAYER = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 5}}
}


class Page:
    """What a page does with its socket."""

    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket, self.doc = socket, Doc()
        self.text = self.doc.get("text", type=Text)

    async def tell(self, kind: str, **data: bytes) -> None:
        content = {name: b64encode(value).decode() for name, value in data.items()}
        await self.socket.send_json_to({"type": kind, **content})

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; who comes and goes in between is left out."""
        while True:
            event = await self.socket.receive_json_from()
            if event["type"] == kind:
                return event
            if event["type"] not in {"here", "left"}:
                raise AssertionError(event)

    async def compare(self) -> None:
        """Exchange what either side lacks."""
        await self.tell("compare", state=self.doc.get_state())
        answer = await self.hear("document")
        self.doc.apply_update(b64decode(answer["update"]))
        await self.tell("update", update=self.doc.get_update(b64decode(answer["state"])))
        await self.hear("saved")

    async def type(self, text: str) -> None:
        """Put ``text`` at the end, and tell the server."""
        before = self.doc.get_state()
        self.text += text
        await self.tell("update", update=self.doc.get_update(before))
        await self.hear("saved")

    async def take(self) -> None:
        """Apply the next change of somebody else."""
        self.doc.apply_update(b64decode((await self.hear("update"))["update"]))


class EditorTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice, cls.bob = create_user("alice"), create_user("bob")
        cls.document = Document.objects.create(name="Plan")

    async def open(self, user: Any, pk: int | None = None, client: Client | None = None) -> Page:
        path = f"/ws/editor/{self.document.pk if pk is None else pk}/"
        socket = await socket_of(user, path, client=client)
        accepted, _ = await socket.connect()
        self.assertTrue(accepted)
        return Page(socket)

    async def enter(self, user: Any, pk: int | None = None) -> Page:
        """A page that has heard of its own arrival."""
        page = await self.open(user, pk)
        self.assertEqual((await page.hear("here"))["user"], user.get_username())
        return page

    async def assert_closed(self, page: Page, code: int) -> None:
        event = await page.socket.receive_output()
        self.assertEqual((event["type"], event["code"]), ("websocket.close", code))
        await page.socket.disconnect()

    async def test_what_one_types_the_other_gets(self) -> None:
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        await alice.compare()
        await bob.compare()
        await alice.type("Hello")
        await bob.take()
        await bob.type(", Alice")
        await alice.take()
        self.assertEqual(str(alice.text), str(bob.text))
        self.assertEqual(str(alice.text), "Hello, Alice")
        await alice.socket.disconnect()
        await bob.socket.disconnect()

    async def test_what_was_typed_without_a_connection_converges(self) -> None:
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        await alice.compare()
        await bob.compare()
        await alice.type("Milk. ")
        await bob.take()
        await alice.socket.disconnect()
        alice.text += "Eggs. "
        await bob.type("Bread. ")
        alice.socket = (await self.enter(self.alice)).socket
        await alice.compare()
        await bob.take()
        self.assertEqual(str(alice.text), str(bob.text))
        self.assertCountEqual(str(bob.text).split(), ["Milk.", "Eggs.", "Bread."])
        carol = await self.enter(self.bob)
        await carol.compare()
        self.assertEqual(str(carol.text), str(bob.text))
        for page in (alice, bob, carol):
            await page.socket.disconnect()

    async def test_what_a_page_sends_as_it_goes_gets_to_the_others(self) -> None:
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        alice.text += "Bye"
        await alice.tell("update", update=alice.doc.get_update())
        await alice.socket.disconnect()
        await bob.take()
        self.assertEqual(str(bob.text), "Bye")
        await bob.socket.disconnect()

    async def test_another_document_hears_nothing(self) -> None:
        other = await Document.objects.acreate(name="Other")
        alice, bob = await self.enter(self.alice), await self.enter(self.bob, other.pk)
        await alice.compare()
        await alice.type("Hello")
        self.assertTrue(await bob.socket.receive_nothing())
        await alice.socket.disconnect()
        await bob.socket.disconnect()

    async def test_rubbish_is_refused_and_nobody_hears_of_it(self) -> None:
        bob, alice = await self.enter(self.bob), await self.enter(self.alice)
        await bob.hear("here")
        bad = ["", "AAA", "ÄÄÄÄ", "QUJD", "A" * (LONGEST_FIELD + 4)]
        for kind, field in (("update", "update"), ("compare", "state")):
            for value in bad:
                with self.subTest(kind=kind, value=str(value)[:20]):
                    await alice.socket.send_json_to({"type": kind, field: value})
                    self.assertIn("text", await alice.hear("refused"))
        wrong = [
            {"type": kind, field: value}
            for kind, field in (("update", "update"), ("compare", "state"), ("here", "caret"))
            for value in (None, 1, [], {"a": 1})
        ]
        wrong.append({"type": "here", "caret": "A" * 101})
        for content in (*wrong, {}, [], None, 1, "x", {"type": []}, {"type": "save"}):
            with self.subTest(content=content):
                await alice.socket.send_json_to(content)
                self.assertIn("text", await alice.hear("error"))
        self.assertTrue(await bob.socket.receive_nothing())
        self.assertEqual(await self.document.updates.acount(), 0)
        await alice.compare()
        await alice.type("Still here")
        await bob.take()
        await alice.socket.disconnect()
        await bob.socket.disconnect()

    async def test_pages_know_who_is_here(self) -> None:
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        self.assertEqual((await bob.hear("here"))["user"], "alice")
        arrived = await alice.hear("here")
        self.assertEqual(arrived["user"], "bob")
        await bob.tell("here", caret=b"end")
        caret = b64encode(b"end").decode()
        self.assertEqual(await alice.hear("here"), arrived | {"caret": caret})
        carol = await self.enter(self.alice)
        self.assertEqual({(await carol.hear("here"))["caret"] for _ in range(2)}, {"", caret})
        await carol.socket.disconnect()
        await alice.hear("left")
        await bob.socket.disconnect()
        self.assertEqual(await alice.hear("left"), {"type": "left", "page": arrived["page"]})
        await alice.socket.disconnect()

    @override_settings(CHANNEL_LAYERS=SMALL_LAYER)
    async def test_a_page_that_has_missed_something_compares_again(self) -> None:
        alice = await self.enter(self.alice)
        await alice.compare()
        # More than its mailbox takes, before it has a turn.
        with self.assertLogs("channels.layers", "WARNING"):
            for _ in range(10):
                left = {"type": "editor.left", "page": "x"}
                await get_channel_layer().group_send(f"document.{self.document.pk}", left)
        await alice.hear("lost")
        await alice.compare()
        await alice.socket.disconnect()

    async def test_who_may_not_come_in(self) -> None:
        for user, pk, code in (
            (None, self.document.pk, CloseCode.UNAUTHORIZED),
            (self.alice, 0, CloseCode.NOT_FOUND),
            (self.alice, 10**30, CloseCode.NOT_FOUND),
        ):
            with self.subTest(code=code, pk=pk):
                await self.assert_closed(await self.open(user, pk), code)

    async def test_who_signs_out_is_gone(self) -> None:
        client = Client()
        alice = await self.open(self.alice, client=client)
        await alice.hear("here")
        await sign_out(self, client)
        await self.assert_closed(alice, CloseCode.UNAUTHORIZED)

    async def test_a_document_that_is_deleted_while_it_is_open(self) -> None:
        alice = await self.enter(self.alice)
        await self.document.adelete()
        await alice.tell("compare", state=alice.doc.get_state())
        await self.assert_closed(alice, CloseCode.GONE)
