"""The chats of the usual tutorials, on real servers, with two real WebSocket clients in a room."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake

from .servers import EXAMPLES, ServerProcess, manage

pytestmark = pytest.mark.server

PROJECT = EXAMPLES / "tutorials"
SERVERS = {
    "uvicorn": ["-m", "uvicorn", "--port", "{port}", "mysite.asgi:application"],
    "daphne": ["-m", "daphne", "--port", "{port}", "mysite.asgi:application"],
    "runserver": ["manage.py", "runserver", "--noreload", "{port}"],
}
SIGN_IN = """
from django.contrib.auth import get_user_model
from django.test import Client
for name in ("alice", "bob"):
    client = Client()
    client.force_login(get_user_model().objects.create_user(name))
    print("cookie", name, client.cookies["sessionid"].value)
"""


class Site:
    """A running tutorial project and the session cookies of its two users."""

    def __init__(self, server: ServerProcess, cookies: dict[str, str]) -> None:
        self.server, self.cookies = server, cookies

    @asynccontextmanager
    async def enter(
        self, path: str, user: str | None = None, origin: str | None = None
    ) -> AsyncIterator[ClientConnection]:
        """A WebSocket to ``path``, opened as the browser of ``user`` would."""
        headers = {"Cookie": f"sessionid={self.cookies[user]}"} if user else {}
        url = self.server.origin.replace("http", "ws") + path
        async with connect(
            url, origin=origin or self.server.origin, additional_headers=headers, proxy=None
        ) as client:
            yield client


@pytest.fixture(scope="module", params=SERVERS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    env = {"TUTORIALS_DATABASE": str(folder / "db.sqlite3")}
    manage(PROJECT, "migrate", "--verbosity=0", env=env)
    printed = manage(PROJECT, "shell", "--command", SIGN_IN, env=env)
    lines = [line.split() for line in printed.splitlines() if line.startswith("cookie ")]
    command = SERVERS[request.param]
    with ServerProcess(command, cwd=PROJECT, log=folder / "server.log", env=env) as server:
        yield Site(server, {name: cookie for _, name, cookie in lines})
    assert "Traceback" not in server.output, server.output


async def hear(client: ClientConnection) -> Any:
    """The next message, decoded."""
    return json.loads(await asyncio.wait_for(client.recv(), 10))


async def say(client: ClientConnection, **content: str) -> None:
    await client.send(json.dumps(content))


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_text_consumer(site: Site, kind: str) -> None:
    room, other_room = f"/ws/{kind}/lobby/", f"/ws/{kind}/elsewhere/"
    async with (
        site.enter(room) as alice,
        site.enter(room) as bob,
        site.enter(other_room) as carol,
    ):
        for speaker, message in [(alice, "Hello Bob"), (bob, "Grüße, Alice ☕")]:
            await say(speaker, message=message)
            assert await hear(alice) == await hear(bob) == {"message": message}
        await say(carol, message="Anybody here?")
        assert await hear(carol) == {"message": "Anybody here?"}


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_messages_of_one_sender_keep_their_order(site: Site, kind: str) -> None:
    room = f"/ws/{kind}/order/"
    async with site.enter(room) as alice, site.enter(room) as bob:
        sent = [str(number) for number in range(50)]
        for message in sent:
            await say(alice, message=message)
        for client in (alice, bob):
            assert [(await hear(client))["message"] for _ in sent] == sent


async def test_sync_json_consumer_knows_the_user(site: Site) -> None:
    room = "/ws/json-sync/lobby/"
    async with site.enter(room, "alice") as alice, site.enter(room) as stranger:
        assert await hear(alice) == {"type": "welcome", "user": "alice"}
        assert await hear(stranger) == {"type": "welcome", "user": ""}
        await say(alice, type="ping")
        assert await hear(alice) == {"type": "pong"}
        await say(alice, type="say", message="Hello")
        said = {"type": "said", "user": "alice", "message": "Hello"}
        assert await hear(alice) == await hear(stranger) == said


async def test_async_json_consumer_reads_the_database(site: Site) -> None:
    room = "/ws/json-async/lobby/"
    async with site.enter(room, "alice") as alice, site.enter(room, "bob") as bob:
        for client in (alice, bob):
            assert await hear(client) == {"type": "welcome", "users": 2}
        await say(bob, message="Hello")
        heard = {"message": "Hello", "username": "bob"}
        assert await hear(alice) == heard | {"own": False}
        assert await hear(bob) == heard | {"own": True}


async def test_background_task_ends_with_its_connection(site: Site) -> None:
    room = f"/ws/background/{secrets.token_hex(4)}/"

    async def until(client: ClientConnection, event: dict[str, Any]) -> None:
        async with asyncio.timeout(10):
            while await hear(client) != event:
                pass

    async with site.enter(room) as alice:
        async with site.enter(room) as bob:
            await until(alice, {"clocks": 2})
            await until(bob, {"clocks": 2})
            await say(alice, message="Hello")
            await until(bob, {"message": "Hello"})
            await until(alice, {"message": "Hello"})
        await until(alice, {"clocks": 1})


async def test_anonymous_user_is_refused(site: Site) -> None:
    with pytest.raises(InvalidHandshake, match="403"):
        async with site.enter("/ws/json-async/lobby/"):
            pass


async def test_other_origin_is_refused(site: Site) -> None:
    with pytest.raises(InvalidHandshake, match="403"):
        async with site.enter("/ws/async/lobby/", origin="https://evil.example"):
            pass


async def test_unknown_path_is_refused(site: Site) -> None:
    with pytest.raises(InvalidHandshake, match=r"403|404"):
        async with site.enter("/ws/nowhere/"):
            pass


async def test_http_beside_websocket(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.server.origin, trust_env=False) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.text) == (200, "Hello from Django")
