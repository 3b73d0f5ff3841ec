"""The game as pages and the worker see it."""

from typing import Any

from asgiref.sync import async_to_sync
from channels.close_codes import CloseCode
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import Client, TestCase
from django.urls import reverse

from game.consumers import CHANNEL, INPUTS_AT_ONCE
from game.models import SavedGame
from showcase.testing import sign_out, socket_of, working


class GameTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice, cls.bob = create_user("alice"), create_user("bob")

    def setUp(self) -> None:
        async_to_sync(get_channel_layer().flush)()

    async def open(self, user: Any, client: Client | None = None) -> WebsocketCommunicator:
        socket = await socket_of(user, "/ws/game/", client=client)
        await socket.connect()
        welcome = await socket.receive_json_from()
        self.assertEqual((welcome["type"], welcome["player"]), ("welcome", str(user.pk)))
        return socket

    async def see(self, socket: WebsocketCommunicator, *names: str) -> list[dict[str, Any]]:
        """The players in the first state that shows just these."""
        while True:
            state = await socket.receive_json_from(timeout=10)
            self.assertEqual(state["type"], "state")
            if sorted(player["name"] for player in state["players"]) == sorted(names):
                return state["players"]

    async def rubbish(self, socket: WebsocketCommunicator, content: Any) -> None:
        await socket.send_json_to(content)
        self.assertEqual((await socket.receive_json_from())["type"], "error")

    async def test_players_see_each_other_fly_and_leave(self) -> None:
        alice, bob = await self.open(self.alice), await self.open(self.bob)
        async with working(CHANNEL):
            await alice.send_json_to({"type": "here"})
            (before,) = await self.see(bob, "alice")
            # Away from the edge that is closer.
            direction = 1 if before["x"] < 400 else -1
            await alice.send_json_to({"type": "steer", "dx": direction, "dy": 0})
            await bob.send_json_to({"type": "here"})
            while True:
                after, _ = await self.see(alice, "alice", "bob")
                if (after["x"] - before["x"]) * direction > 50:
                    break
            self.assertEqual(after["y"], before["y"])
            await bob.send_json_to({"type": "leave"})
            await self.see(bob, "alice")
            await alice.send_json_to({"type": "leave"})
            await self.see(bob)
            # It rests when nobody plays.
            self.assertTrue(await bob.receive_nothing(timeout=0.3))
            await alice.send_json_to({"type": "here"})
            await self.see(bob, "alice")
        await alice.disconnect()
        await bob.disconnect()

    async def test_it_goes_on_after_a_restart(self) -> None:
        alice = await self.open(self.alice)
        async with working(CHANNEL):
            await alice.send_json_to({"type": "here"})
            await self.see(alice, "alice")
        saved = await SavedGame.objects.aget()
        player = saved.arena["players"][str(self.alice.pk)]
        player |= {"points": 7, "x": 100, "y": 100}
        await saved.asave()
        while not await alice.receive_nothing():
            await alice.receive_json_from()
        async with working(CHANNEL):
            await alice.send_json_to({"type": "steer", "dx": 0, "dy": 0})
            (player,) = await self.see(alice, "alice")
            self.assertGreaterEqual(player["points"], 7)
            self.assertEqual((player["x"], player["y"]), (100, 100))
        await alice.disconnect()

    async def test_a_saved_game_of_another_version(self) -> None:
        for arena in ({}, [], {"players": {"1": {"lives": 3}}}, {"balls": 3}):
            with self.subTest(arena=arena):
                await SavedGame.objects.aupdate_or_create(pk=1, defaults={"arena": arena})
                with self.assertLogs("game.models", "WARNING"):
                    self.assertEqual((await SavedGame.load()).players, {})

    async def test_rubbish_has_no_effect(self) -> None:
        alice = await self.open(self.alice)
        for content in ({}, [], None, 1, "x", {"type": []}, {"type": "win"}):
            with self.subTest(content=content):
                await self.rubbish(alice, content)
        for part in (1.01, -2, 10**15, "1", None, True, [], {}):
            with self.subTest(part=part):
                await self.rubbish(alice, {"type": "steer", "dx": part, "dy": 0})
        await self.rubbish(alice, {"type": "steer", "dx": 0})
        self.assertEqual(get_channel_layer().statistics.pending, 0)
        await alice.disconnect()

    async def test_what_comes_too_fast_has_no_effect(self) -> None:
        alice = await self.open(self.alice)
        flood = 100
        for _ in range(flood):
            await alice.send_json_to({"type": "here"})
        self.assertTrue(await alice.receive_nothing())
        pending = get_channel_layer().statistics.pending
        self.assertGreaterEqual(pending, INPUTS_AT_ONCE)
        self.assertLess(pending, flood)
        await alice.disconnect()

    async def test_a_game_that_is_away(self) -> None:
        alice = await self.open(self.alice)
        layer = get_channel_layer()
        with self.assertRaises(ChannelFull):
            while True:
                await layer.send(CHANNEL, {"type": "game.leave", "player": "0"})
        await alice.send_json_to({"type": "here"})
        self.assertTrue(await alice.receive_nothing())
        async with working(CHANNEL):
            while not await alice.receive_nothing(timeout=0.01):
                pass
            await alice.send_json_to({"type": "here"})
            await self.see(alice, "alice")
        await alice.disconnect()

    async def test_a_message_that_cannot_be_handled_does_not_end_the_game(self) -> None:
        alice = await self.open(self.alice)
        async with working(CHANNEL):
            await alice.send_json_to({"type": "here"})
            await self.see(alice, "alice")
            with self.assertLogs("channels.worker", "ERROR"):
                await get_channel_layer().send(CHANNEL, {"type": "game.player"})
                while not await alice.receive_nothing():
                    await alice.receive_json_from()
            await alice.send_json_to({"type": "here"})
            await self.see(alice, "alice")
        await alice.disconnect()

    async def test_who_has_not_signed_in_is_told_so(self) -> None:
        socket = await socket_of(None, "/ws/game/")
        await socket.connect()
        self.assertEqual((await socket.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await socket.disconnect()

    async def test_who_signs_out_is_gone(self) -> None:
        client = Client()
        alice = await self.open(self.alice, client)
        await sign_out(self, client)
        self.assertEqual((await alice.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await alice.disconnect()

    async def test_page(self) -> None:
        page = reverse("game")
        answer = await self.async_client.get(page)
        self.assertRedirects(
            answer, f"{reverse('sign-in')}?next={page}", fetch_redirect_response=False
        )
        await self.async_client.aforce_login(self.alice)
        self.assertContains(await self.async_client.get(page), 'data-socket="/ws/game/"')
