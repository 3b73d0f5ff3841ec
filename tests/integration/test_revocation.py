"""Two real server processes: what happens in one ends the sockets of the other within 2 seconds."""

import asyncio
import contextlib
import subprocess
import sys
import time
import uuid
from typing import NamedTuple

import httpx
import pytest
import websockets

from tests.brokers import running
from tests.processes import ServerProcess, environment
from tests.servers import ROOT

pytestmark = pytest.mark.server

ENGINES = [
    "db",
    *(
        pytest.param(engine, marks=pytest.mark.slow)
        for engine in ("cached_db", "cache", "file", "signed_cookies")
    ),
]
PEOPLE = ["anna", "bert", "cleo", "dora", "emil", "finn", "gina", "hugo"]

COMMAND = """
import sys
import tests.integration.revocation_site
from django.core.management import call_command
call_command("channels_disconnect", *sys.argv[1:])
"""

PREPARE = f"""
from tests.integration.revocation_site import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
for name in {PEOPLE!r}:
    get_user_model().objects.create_user(name, password="secret")
"""


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


class Site(NamedTuple):
    engine: str
    one: ServerProcess
    two: ServerProcess
    env: dict[str, str]


@pytest.fixture(scope="module", params=ENGINES)
def site(request, broker, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{request.param}-{uuid.uuid4().hex[:8]}")
    extra = {
        "SITE_FOLDER": str(folder),
        "SITE_ENGINE": request.param,
        "SITE_BROKER": broker.url,
    }
    env = environment(**extra)
    subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=env, check=True)
    command = ["-m", "uvicorn", "tests.integration.revocation_site:application"]
    command += ["--port", "{port}", "--log-level", "warning"]
    log = folder / "log"
    with (
        ServerProcess(command, cwd=ROOT, log=log, env=env) as one,
        ServerProcess(command, cwd=ROOT, log=log, env=env) as two,
    ):
        yield Site(request.param, one, two, env)


class Browser:
    """Signs in at one process, and connects to the other."""

    def __init__(self, site, stack):
        self.one, self.two = site.one, site.two
        self.http = httpx.AsyncClient(base_url=self.one.origin)
        self.stack = stack
        stack.push_async_callback(self.http.aclose)

    async def sign_in(self, name, expiry=0):
        response = await self.http.get(f"/in/{name}/{expiry}/")
        assert response.status_code == 200
        return self

    async def connect(self, path="/ws/", process=None):
        cookie = "; ".join(f"{key}={value}" for key, value in self.http.cookies.items())
        socket = await websockets.connect(
            (process or self.two).ws_url + path, additional_headers={"Cookie": cookie}
        )
        self.stack.push_async_callback(socket.close)
        await socket.send("hello")
        await socket.recv()
        return socket

    async def do(self, what):
        response = await self.http.get(f"/do/{what}/")
        assert response.status_code == 200


@pytest.fixture
async def sign_in(site):
    async with contextlib.AsyncExitStack() as stack:

        async def sign_in(name, expiry=0):
            return await Browser(site, stack).sign_in(name, expiry)

        yield sign_in


async def closed(socket, within=2.0):
    begin = time.monotonic()
    async with asyncio.timeout(10):
        await socket.wait_closed()
    assert time.monotonic() - begin < within
    return socket.close_code, socket.close_reason


async def is_open(socket):
    await socket.send("still there?")
    return bool(await socket.recv())


async def test_signing_out_in_another_tab(site, sign_in):
    browser, other = await sign_in("anna"), await sign_in("anna", expiry=1000)
    tabs = [await browser.connect(), await browser.connect(process=site.one)]
    careless, elsewhere = await browser.connect("/careless/"), await other.connect()
    await browser.do("logout")
    for tab in tabs:
        code, reason = await closed(tab)
        assert code == 4401
        assert reason in {"signed out", "the session has ended"}  # a look may come before the news
    assert await is_open(careless)
    assert await is_open(elsewhere)


async def test_a_new_password_ends_the_other_sessions(site, sign_in):
    browser, other = await sign_in("bert"), await sign_in("bert")
    own, elsewhere = await browser.connect(), await other.connect()
    await browser.do("password")
    assert await closed(elsewhere) == (4401, "the password has changed")
    if site.engine == "signed_cookies":  # all is in the cookie, so nothing tells whose it is
        assert await closed(own) == (4401, "the password has changed")
    else:
        assert await is_open(own)
        await browser.do("logout")
        assert (await closed(own))[0] == 4401


@pytest.mark.parametrize(("name", "what"), [("cleo", "deactivation"), ("dora", "deletion")])
async def test_a_user_that_is_gone(site, sign_in, name, what):
    browser, other = await sign_in(name), await sign_in(name)
    sockets = [
        await browser.connect(),
        await other.connect(),
        await other.connect("/ws/", site.one),
    ]
    await browser.do(what)
    for socket in sockets:
        assert await closed(socket) == (4401, "the user is gone or not active")


async def test_a_session_that_expires(sign_in):
    browser = await sign_in("emil", expiry=3)
    begin = time.monotonic()
    socket = await browser.connect()
    code, reason = await closed(socket, within=6)
    assert code == 4401
    assert reason in {"the session has ended", "the session has expired"}
    assert 2 < time.monotonic() - begin < 5.5


async def test_by_hand(sign_in):
    browser = await sign_in("finn")
    sockets = [await browser.connect(), await browser.connect("/careless/")]
    await browser.do("disconnect")
    for socket in sockets:
        assert await closed(socket) == (4000, "go away")


async def test_by_a_command_in_a_third_process(site, sign_in):
    browser = await sign_in("gina")
    sockets = [await browser.connect(), await browser.connect(process=site.one)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "--user=gina", "--code=4403", "--reason=banned"),
        env=site.env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert output.decode().strip() == "2 connections end; 2 processes have answered"
    for socket in sockets:
        assert await closed(socket) == (4403, "banned")
