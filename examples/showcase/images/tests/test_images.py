"""Pictures as pages and the painter see them."""

import io
from dataclasses import asdict
from typing import Any

from asgiref.sync import async_to_sync
from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, SimpleTestCase, TestCase
from django.urls import reverse
from PIL import Image

from images.consumers import CHANNEL
from images.forms import ParametersForm
from images.models import MOST_KEPT, MOST_UNFINISHED, Job
from images.painting import HEIGHT, WIDTH, Parameters, paint
from showcase.testing import sign_out, socket_of, working

# Little work, and more than anybody waits for.
QUICK = asdict(Parameters(x=2.5, y=2.5, zoom=6, detail=25))
LONG = asdict(Parameters(zoom=10, x=0, y=0, detail=1000))


class PaintingTests(SimpleTestCase):
    def test_it_gets_finer_until_it_is_done(self) -> None:
        steps = list(paint(Parameters(detail=25)))
        percents = [percent for percent, _ in steps]
        self.assertEqual(percents, sorted(percents))
        self.assertEqual(percents[-1], 100)
        for _, image in steps:
            picture = Image.open(io.BytesIO(image))
            self.assertEqual((picture.format, picture.size), ("WEBP", (WIDTH, HEIGHT)))
        self.assertGreater(len(picture.convert("RGB").getcolors(WIDTH * HEIGHT)), 100)

    def test_the_form_knows_the_bounds(self) -> None:
        self.assertTrue(ParametersForm(QUICK).is_valid())
        bad = {
            "shape": ["Teapot", "", None, []],
            "colours": ["Mud"],
            "zoom": [-1, 17, "nan", "inf", "", None, "deep"],
            "detail": [24, 1001, 30.5, 10**30],
            "x": [-2.6, 2.6, "nan"],
            "y": [{}, "1,5"],
        }
        for name, values in bad.items():
            for value in values:
                with self.subTest(name=name, value=value):
                    form = ParametersForm({**QUICK, name: value})
                    self.assertFalse(form.is_valid())
                    self.assertEqual(list(form.errors), [name])


class ImagesTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice, cls.bob = create_user("alice"), create_user("bob")

    def setUp(self) -> None:
        async_to_sync(get_channel_layer().flush)()

    async def open(self, user: Any, client: Client | None = None) -> WebsocketCommunicator:
        socket = await socket_of(user, "/ws/images/", client=client)
        await socket.connect()
        return socket

    async def enter(self, user: Any) -> WebsocketCommunicator:
        """A page that knows of no picture."""
        socket = await self.open(user)
        self.assertEqual(
            await socket.receive_json_from(), {"type": "jobs", "jobs": [], "most": MOST_KEPT}
        )
        return socket

    async def until(self, socket: WebsocketCommunicator, state: str) -> dict[str, Any]:
        """The next event about a picture in this state."""
        while True:
            event = await socket.receive_json_from(timeout=20)
            self.assertEqual(event["type"], "job")
            if event["state"] == state:
                return event

    async def test_a_picture_is_painted_for_all_windows_of_its_owner(self) -> None:
        async with working(CHANNEL):
            alice, other_window = await self.enter(self.alice), await self.enter(self.alice)
            bob = await self.enter(self.bob)
            await alice.send_json_to({"type": "order", "parameters": QUICK})
            for window in (alice, other_window):
                ordered = await self.until(window, "waiting")
                self.assertEqual((ordered["percent"], ordered["image"]), (0, None))
                done = await self.until(window, "done")
                self.assertEqual((done["id"], done["percent"]), (ordered["id"], 100))
                self.assertEqual(done["parameters"], QUICK)
                self.assertTrue(done["image"].startswith("data:image/webp;base64,"))
            self.assertTrue(await bob.receive_nothing())
            late = await self.open(self.alice)
            self.assertEqual((await late.receive_json_from())["jobs"], [done])
            for socket in (alice, other_window, bob, late):
                await socket.disconnect()

    async def test_it_can_be_changed_and_cancelled_under_way(self) -> None:
        async with working(CHANNEL):
            alice = await self.enter(self.alice)
            await alice.send_json_to({"type": "order", "parameters": LONG})
            preview = await self.until(alice, "painting")
            self.assertLess(preview["percent"], 100)
            self.assertIsNotNone(preview["image"])
            pk = preview["id"]
            changed = {**LONG, "colours": "Fire"}
            await alice.send_json_to({"type": "order", "id": pk, "parameters": changed})
            ordered = await self.until(alice, "waiting")
            self.assertEqual((ordered["id"], ordered["version"]), (pk, 2))
            while (event := await self.until(alice, "painting"))["version"] == 1:
                pass
            self.assertEqual((event["version"], event["parameters"]), (2, changed))
            await alice.send_json_to({"type": "cancel", "id": pk})
            cancelled = await self.until(alice, "cancelled")
            self.assertEqual(cancelled["version"], 3)
            await alice.send_json_to({"type": "order", "id": pk, "parameters": QUICK})
            self.assertEqual((await self.until(alice, "done"))["version"], 4)
            await alice.disconnect()

    async def test_a_painter_that_begins_anew_goes_on(self) -> None:
        alice = await self.enter(self.alice)
        await alice.send_json_to({"type": "order", "parameters": QUICK})
        await self.until(alice, "waiting")
        await alice.disconnect()
        await get_channel_layer().flush()  # What the painter should have been told is lost.
        async with working(CHANNEL):
            alice = await self.open(self.alice)
            [job] = (await alice.receive_json_from())["jobs"]
            self.assertEqual(job["state"], "waiting")
            await self.until(alice, "done")
            await alice.disconnect()

    async def test_nobody_has_too_many(self) -> None:
        alice, bob = await self.enter(self.alice), await self.enter(self.bob)
        for _ in range(MOST_UNFINISHED):
            await alice.send_json_to({"type": "order", "parameters": QUICK})
            await self.until(alice, "waiting")
        await alice.send_json_to({"type": "order", "parameters": QUICK})
        self.assertEqual((await alice.receive_json_from())["type"], "error")
        await bob.send_json_to({"type": "order", "parameters": QUICK})
        await self.until(bob, "waiting")
        await Job.objects.filter(owner=self.alice).aupdate(state=Job.State.DONE)
        for _ in range(MOST_KEPT):
            await alice.send_json_to({"type": "order", "parameters": QUICK})
            job = await self.until(alice, "waiting")
            await Job.objects.filter(pk=job["id"]).aupdate(state=Job.State.DONE)
        self.assertEqual(await Job.objects.filter(owner=self.alice).acount(), MOST_KEPT)
        await alice.disconnect()
        await bob.disconnect()

    async def test_a_picture_of_somebody_else_stays_as_it_is(self) -> None:
        job = await Job.objects.acreate(owner=self.bob, parameters=QUICK)
        alice = await self.enter(self.alice)
        for content in (
            {"type": "order", "id": job.pk, "parameters": LONG},
            {"type": "cancel", "id": job.pk},
            {"type": "remove", "id": job.pk},
            {"type": "remove", "id": 2**63 - 1},
        ):
            await alice.send_json_to(content)
        for pk in (job.pk, 2**63 - 1):
            removed = {"type": "removed", "id": pk}
            self.assertEqual(await alice.receive_json_from(), removed)
        await job.arefresh_from_db()
        self.assertEqual((job.version, job.state, job.parameters), (1, "waiting", QUICK))
        await alice.disconnect()

    async def test_what_cannot_be_painted_says_so(self) -> None:
        job = await Job.objects.acreate(owner=self.alice, parameters={"of": "an older version"})
        async with working(CHANNEL):
            alice = await self.open(self.alice)
            with self.assertLogs("images", "ERROR"):
                await alice.receive_json_from()
                self.assertEqual((await self.until(alice, "failed"))["id"], job.pk)
            await alice.disconnect()

    async def test_what_cannot_be_understood_is_answered(self) -> None:
        alice = await self.enter(self.alice)
        for content in (
            {"type": "draw"}, {"type": "order"}, {"type": "order", "parameters": []},
            {"type": "order", "parameters": {**QUICK, "zoom": 99}}, {"type": "cancel", "id": "1"},
            {"type": "order", "parameters": QUICK, "id": "1"},
            {}, [], 1, None, "order",
        ):  # fmt: skip
            with self.subTest(content=content):
                await alice.send_json_to(content)
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        await alice.send_to("no JSON")
        with self.assertRaises(ValueError):  # A server closes such a socket with 1007.
            await alice.receive_output()

    async def test_a_painter_that_is_away_is_told_of(self) -> None:
        alice = await self.enter(self.alice)
        layer = get_channel_layer()
        for _ in range(layer.capacity):
            await layer.send(CHANNEL, {"type": "images.ordered", "job": 0})
        await alice.send_json_to({"type": "order", "parameters": QUICK})
        events = [await alice.receive_json_from() for _ in range(2)]
        self.assertCountEqual([event["type"] for event in events], ["job", "error"])
        await alice.disconnect()

    async def test_who_has_not_signed_in_or_signs_out_is_told_so(self) -> None:
        stranger = await self.open(None)
        self.assertEqual((await stranger.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await stranger.disconnect()
        client = Client()
        alice = await self.open(self.alice, client)
        await alice.receive_json_from()
        await sign_out(self, client)
        self.assertEqual((await alice.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await alice.disconnect()

    def test_the_page_needs_an_account(self) -> None:
        page = reverse("images")
        self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(page), 'data-socket="/ws/images/"')
