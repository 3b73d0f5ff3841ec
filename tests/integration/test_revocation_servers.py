"""Whatever serves a connection, and in whichever protocol: it ends when its user may not go on."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time

import httpx
import pytest
import websockets
from django.conf import settings

from channels import revocation
from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer
from tests.brokers import running
from tests.processes import environment
from tests.servers import ROOT, SERVERS, RunningServer

from .test_revocation import PEOPLE, PREPARE

pytestmark = pytest.mark.server

# Seconds. The promise is 2; machines of tests are busy.
WITHIN = 6.0


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture(scope="module")
def project(broker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    env = environment(
        SITE_FOLDER=str(folder),
        SITE_ENGINE="db",
        SITE_BROKER=broker.url,
        SITE_SECRET=settings.SECRET_KEY,
    )
    subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=env, check=True)
    return folder, env


@pytest.fixture(scope="module", params=SERVERS)
def site(request, project):
    kind = SERVERS[request.param]
    kind.require()
    folder, env = project
    application = "tests.integration.revocation_site:application"
    with RunningServer(kind, application, log=folder / "log", env=env) as server:
        server.prefix = folder.name
        yield server


@pytest.fixture
async def layer(site, broker):
    """That of the test, which is another process of the project."""
    layer = RedisChannelLayer(hosts=[broker.url], prefix=site.prefix)
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)
    await layer.aclose()


class Visit:
    """Somebody who is signed in, with a connection of each kind."""

    def __init__(self, site, stack):
        self.site, self.stack = site, stack
        self.below = ""

    async def begin(self, name, *, token=False):
        self.http = httpx.AsyncClient(base_url=self.site.origin, timeout=30)
        await self.stack.enter_async_context(self.http)
        assert (await self.http.get(f"/in/{name}/0/")).status_code == 200
        headers = {"Cookie": "; ".join(f"{key}={it}" for key, it in self.http.cookies.items())}
        if token:
            headers = {"Authorization": f"Bearer {(await self.http.get('/token/')).text}"}
            self.http.headers.update(headers)
            self.below = "/token"
        self.socket = await websockets.connect(
            f"{self.site.ws_url}{self.below}/socket/", additional_headers=headers
        )
        self.stack.push_async_callback(self.socket.close)
        events = self.http.stream(
            "GET", f"{self.below}/events/", headers={"Accept": "text/event-stream"}
        )
        self.events = (await self.stack.enter_async_context(events)).aiter_lines()
        polled = await self.poll()
        polled = polled["messages"] or (await self.poll())["messages"]
        self.told = {
            "websocket": json.loads(await self.socket.recv()),
            "sse": await self.next_event(),
            "longpoll": polled[0],
        }
        return self

    async def next_event(self):
        async for line in self.events:
            if line.startswith("data:"):
                return json.loads(line.removeprefix("data:"))
        return None

    async def poll(self):
        params = {"cursor": self.cursor} if hasattr(self, "cursor") else {}
        answer = await self.http.get(f"{self.below}/polls/", params=params)
        assert answer.status_code == 200
        content = answer.json()
        self.cursor = content["cursor"]
        return content

    async def expect_closed(self, code, *, nobody=False):
        """Wait until all have ended, and look at the code where there is one.

        A poll of a client that is nobody by then is answered with 410.
        """
        began = time.monotonic()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(self.socket.wait_closed())
            event = group.create_task(self.next_event())
            poll = None
            if not self.below:
                polling = self.http.get("/polls/", params={"cursor": self.cursor})
                poll = group.create_task(polling)
        assert time.monotonic() - began < WITHIN
        assert self.socket.close_code == code
        assert event.result() is None, "the stream ends without another event"
        if poll is not None and not (nobody and poll.result().status_code == 410):
            assert poll.result().json()["closed"]["code"] == code


@pytest.fixture
async def visit(site):
    async with contextlib.AsyncExitStack() as stack:

        async def visit(name, **how):
            return await Visit(site, stack).begin(name, **how)

        yield visit


@pytest.mark.parametrize("path", ["/do/logout/", "/out/"], ids=["view", "async view"])
async def test_the_user_signs_out(visit, path):
    visitor = await visit(PEOPLE[-1])
    assert (await visitor.http.get(path)).status_code == 200
    await visitor.expect_closed(4401, nobody=True)


async def test_the_user_is_deactivated(site, visit):
    visitor = await visit(PEOPLE[list(SERVERS.values()).index(site.kind)])
    assert (await visitor.http.get("/do/deactivation/")).status_code == 200
    await visitor.expect_closed(4401, nobody=True)


async def test_the_token_is_deleted(visit):
    visitor = await visit(PEOPLE[-1], token=True)
    waiting = asyncio.create_task(
        visitor.http.get("/token/polls/", params={"cursor": visitor.cursor})
    )
    assert (await visitor.http.get("/do/token/")).status_code == 200
    await visitor.expect_closed(4401)
    answer = await waiting
    assert answer.status_code == 401 or answer.json()["closed"]["code"] == 4401


@pytest.mark.parametrize("by", ["user", "session", "group", "channel"])
async def test_by_hand_from_another_process(visit, layer, by):
    visitor = await visit(PEOPLE[-1])
    disconnect = getattr(revocation, f"adisconnect_{by}")
    told = visitor.told.values()
    values = {"room"} if by == "group" else {content[by] for content in told}
    for value in values:
        await disconnect(value, code=4403, reason="banned")
    await visitor.expect_closed(4403)
