"""The game as people play it: keyboard on a desktop, finger on a phone, one arena."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, WebSocket, expect

from .people import PHONE, PROJECT, People, picture
from .servers import ServerProcess, environment

pytestmark = [pytest.mark.e2e, pytest.mark.server]


@contextlib.contextmanager
def the_worker(server: ServerProcess, log: Path) -> Iterator[None]:
    """The process that runs the game for several servers."""
    command = [sys.executable, "-W", "error", "manage.py", "runworker", "game"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment(**server.env),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(15) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


class Player:
    """A page with the game, and what the server tells it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state: dict[str, Any] = {"players": [], "stars": []}
        self.id = ""
        page.on("websocket", self.listen)

    def listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self.receive(json.loads(frame)))

    def receive(self, event: dict[str, Any]) -> None:
        if event["type"] == "welcome":
            self.id = event["player"]
        elif event["type"] == "state":
            self.state = event

    async def wait_for_state(self) -> None:
        """Wait for the next state."""
        self.state = {"players": [], "stars": []}
        while not self.state["players"]:
            await self.page.wait_for_timeout(50)

    @property
    def ship(self) -> dict[str, Any]:
        return next(ship for ship in self.state["players"] if ship["id"] == self.id)

    async def open(self) -> None:
        await self.page.goto(self.page.url)
        await expect(self.page.locator("#status")).to_have_text("Connected")

    async def play(self) -> None:
        await self.page.get_by_role("button", name="Play").click()
        await self.expect_score("(you)")

    async def expect_score(self, text: str) -> None:
        await expect(self.page.get_by_role("list")).to_contain_text(text)

    async def fly_to_a_star(self) -> None:
        """Press on the closest star, and hold until there is one more point."""
        ship = self.ship
        near = min(self.state["stars"], key=lambda s: abs(s[0] - ship["x"]) + abs(s[1] - ship["y"]))
        box = await self.page.locator("canvas").bounding_box()
        assert box is not None
        scale = box["width"] / 800
        await self.page.mouse.move(box["x"] + near[0] * scale, box["y"] + near[1] * scale)
        await self.page.mouse.down()
        await expect(self.page.locator("#news")).to_contain_text("You have", timeout=20_000)
        await self.page.mouse.up()

    async def fly(self, key: str) -> None:
        """Hold a key until the ship is at the edge."""
        await self.page.keyboard.down(key)
        axis, edge = {"ArrowLeft": ("x", 20), "KeyS": ("y", 780)}[key]
        while self.ship[axis] != edge:
            await self.page.wait_for_timeout(50)
        await self.page.keyboard.up(key)


async def send_rubbish(page: Page) -> None:
    """Send frames that no page sends, and see what they are answered with."""
    answers = await page.evaluate(
        """() => new Promise((done) => {
            const socket = new WebSocket(document.querySelector("#main").dataset.socket);
            const seen = [];
            socket.onopen = () => {
                socket.send(JSON.stringify({ type: "steer", dx: 1e9, dy: 0 }));
                socket.send(JSON.stringify({ type: "win" }));
                socket.send("no JSON");
            };
            socket.onmessage = ({ data }) => seen.push(JSON.parse(data).type);
            socket.onclose = ({ code }) => done([...seen.filter((type) => type === "error"), code]);
        })"""
    )
    assert answers == ["error", "error", 1007]


async def test_two_people_play(people: People) -> None:
    alice = Player(await people.sign_in("alice", "/game/"))
    bob = Player(await people.sign_in("bob", "/game/", PHONE, "dark"))
    await alice.open()
    await bob.open()
    await alice.expect_score("Nobody plays")
    await alice.play()
    await bob.expect_score("alice")
    await bob.play()
    await send_rubbish(bob.page)
    await expect(alice.page.locator("#news")).to_contain_text("bob plays.")
    await alice.fly("ArrowLeft")
    await alice.fly("KeyS")
    await bob.fly_to_a_star()
    await alice.fly_to_a_star()
    await alice.page.keyboard.down("ArrowRight")
    await alice.page.wait_for_timeout(400)
    await picture(alice.page, "game", for_docs=True)
    await picture(bob.page, "game-phone")
    await bob.page.get_by_role("button", name="Leave the game").click()
    await expect(alice.page.locator("#news")).to_contain_text("bob has left.")
    await expect(bob.page.get_by_role("button", name="Play")).to_be_focused()


async def test_the_game_goes_on_after_a_restart(people: People, showcase: ServerProcess) -> None:
    alice = Player(await people.sign_in("alice", "/game/"))
    await alice.open()
    await alice.play()
    await alice.fly_to_a_star()
    points = alice.ship["points"]
    assert points > 0
    showcase.stop()
    await expect(alice.page.locator("#status")).to_have_text("Reconnecting…")
    await alice.page.locator("canvas").focus()
    for _ in range(60):
        await alice.page.keyboard.press("ArrowUp")
    showcase.start()
    await expect(alice.page.locator("#status")).to_have_text("Connected", timeout=20_000)
    await alice.page.locator("canvas").focus()
    await alice.page.keyboard.press("KeyW")
    await expect(alice.page.get_by_role("list")).to_contain_text("alice (you)")
    await alice.wait_for_state()
    assert alice.ship["points"] >= points
    await expect(alice.page.get_by_role("alert")).to_be_hidden()
    people.forgive("ERR_CONNECTION_REFUSED")


async def test_two_servers_and_a_worker(
    browser: Browser, two_servers: tuple[ServerProcess, ServerProcess], tmp_path: Path
) -> None:
    first, second = (People(browser, server) for server in two_servers)
    alice = Player(await first.sign_in("alice", "/game/"))
    bob = Player(await second.sign_in("bob", "/game/"))
    with the_worker(two_servers[0], tmp_path / "worker.log"):
        await alice.open()
        await bob.open()
        await alice.play()
        await bob.expect_score("alice")
        await bob.play()
        await alice.fly_to_a_star()
        points = alice.ship["points"]
    await expect(alice.page.get_by_role("alert")).to_have_text(
        "The game does not answer.", timeout=20_000
    )
    with the_worker(two_servers[0], tmp_path / "worker.log"):
        await expect(alice.page.get_by_role("alert")).to_be_hidden(timeout=20_000)
        await alice.wait_for_state()
        assert alice.ship["points"] >= points
    assert first.errors == second.errors == []
