"""The broker goes away and comes back: what is promised of sign-outs and of commands meanwhile."""

import asyncio
import contextlib
import subprocess
import sys

import httpx
import pytest
import websockets
from websockets.protocol import State

from tests.brokers import running
from tests.processes import ServerProcess, environment
from tests.servers import ROOT

from .test_revocation import PREPARE

pytestmark = pytest.mark.server

LAYERS = [
    "channels_redis.core.RedisChannelLayer",
    pytest.param("channels_redis.pubsub.RedisPubSubChannelLayer", marks=pytest.mark.slow),
]

# Seconds. Attempts to reach the broker pause for up to 8.
PATIENCE = 20.0


@pytest.fixture(params=LAYERS, ids=["streams", "pubsub"])
def site(request, tmp_path):
    with running("valkey") as broker:
        env = environment(
            SITE_FOLDER=str(tmp_path),
            SITE_ENGINE="db",
            SITE_BROKER=broker.url,
            SITE_LAYER=request.param,
        )
        subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=env, check=True)
        command = ["-m", "uvicorn", "tests.integration.revocation_site:application"]
        command += ["--port", "{port}", "--log-level", "warning"]
        log = tmp_path / "log"
        with (
            ServerProcess(command, cwd=ROOT, log=log, env=env) as one,
            ServerProcess(command, cwd=ROOT, log=log, env=env) as two,
        ):
            yield broker, one, two


async def sign_in(stack, server, name, expiry=0):
    http = httpx.AsyncClient(base_url=server.origin, timeout=30)
    await stack.enter_async_context(http)
    assert (await http.get(f"/in/{name}/{expiry}/")).status_code == 200
    return http


async def connect(stack, server, http):
    cookie = "; ".join(f"{key}={value}" for key, value in http.cookies.items())
    url = server.ws_url + "/ws/"
    socket = await websockets.connect(url, additional_headers={"Cookie": cookie})
    stack.push_async_callback(socket.close)
    return socket


async def closed(*sockets):
    async with asyncio.timeout(PATIENCE):
        for socket in sockets:
            await socket.wait_closed()
    assert {socket.close_code for socket in sockets} == {4401}


async def test_the_broker_restarts(site):
    broker, one, two = site
    async with contextlib.AsyncExitStack() as stack:
        anna, bert = await sign_in(stack, one, "anna"), await sign_in(stack, one, "bert")
        emil = await sign_in(stack, one, "emil", expiry=2)
        here, elsewhere = await connect(stack, one, anna), await connect(stack, two, anna)
        other = await connect(stack, two, bert)
        passing = await connect(stack, two, emil)
        broker.kill()
        # What a process finds out by itself needs no broker.
        await closed(passing)
        assert (await anna.get("/do/logout/")).status_code == 200
        await closed(here)
        broker.start()
        # What was to be told is told now, or found out where it was not heard.
        await closed(elsewhere)
        # And commands by hand are heard again, once that process has come back to the broker.
        async with asyncio.timeout(PATIENCE):
            while other.state is State.OPEN:
                assert (await bert.get("/do/disconnect/")).status_code == 200
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(other.wait_closed(), 0.5)
        assert (other.close_code, other.close_reason) == (4000, "go away")
