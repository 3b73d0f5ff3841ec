"""The admin's live page on real servers: it shows all processes, and disconnects in all of them."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import websockets

from tests.brokers import running
from tests.processes import ServerProcess, environment
from tests.servers import ROOT

pytestmark = pytest.mark.server

LIVE = "/admin/channels_admin/liveconnection/"

PREPARE = """
from tests.integration import live_page_site
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", verbosity=0, interactive=False)
call_command("check", fail_level="WARNING")
users = get_user_model().objects
users.create_superuser("root", password="secret")
users.create_user("staff", password="secret", is_staff=True)
"""

ENTRIES = """
from tests.integration import live_page_site
from django.contrib.admin.models import LogEntry
print([entry.change_message for entry in LogEntry.objects.all()])
"""

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "{app}", "--port", "{port}", "--log-level", "warning"],
    "daphne": ["-m", "daphne", "-p", "{port}", "{app}"],
    "hypercorn": ["-m", "hypercorn", "-b", "127.0.0.1:{port}", "{app}"],
    "granian": ["-m", "granian", "--interface", "asgi", "--port", "{port}", "{app}"],
}


class Site(NamedTuple):
    one: ServerProcess
    two: ServerProcess
    env: dict[str, str]

    def run(self, program: str) -> str:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=ROOT, env=self.env, check=True, capture_output=True)
        return done.stdout.decode()


@pytest.fixture(
    params=["uvicorn", *(pytest.param(name, marks=pytest.mark.slow) for name in list(SERVERS)[1:])]
)
def site(request: pytest.FixtureRequest, tmp_path: Path):
    command = [
        part.replace("{app}", "tests.integration.live_page_site:application")
        for part in SERVERS[request.param]
    ]
    with running("valkey") as broker, contextlib.ExitStack() as stack:
        env = environment(SITE_FOLDER=str(tmp_path), SITE_BROKER=broker.url)
        subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=env, check=True)
        one, two = (
            stack.enter_context(
                ServerProcess(command, cwd=ROOT, log=tmp_path / f"{name}.log", env=env)
            )
            for name in ("one", "two")
        )
        yield Site(one, two, env)
    for server in (one, two):
        assert "Traceback" not in server.output, server.output


async def sign_in(site: Site, name: str, page: str = LIVE) -> tuple[httpx.AsyncClient, str]:
    client = httpx.AsyncClient(base_url=site.one.origin, follow_redirects=True)
    await client.get("/admin/login/")
    form = {
        "username": name,
        "password": "secret",
        "csrfmiddlewaretoken": client.cookies["csrftoken"],
    }
    return client, (await client.post(f"/admin/login/?next={page}", data=form)).text


def connect(site: Site, client: httpx.AsyncClient, path: str, process: ServerProcess):
    cookie = "; ".join(f"{key}={value}" for key, value in client.cookies.items())
    url = process.ws_url + path
    return websockets.connect(url, origin=process.origin, additional_headers={"Cookie": cookie})


async def until_message(socket, condition):
    async with asyncio.timeout(30):
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "figures":
                await socket.send('{"type": "seen"}')
            if condition(message):
                return message
    raise AssertionError("closed")


async def check_refusals(site: Site) -> None:
    client, _ = await sign_in(site, "staff", "/admin/")
    async with contextlib.aclosing(client):
        with pytest.raises(websockets.InvalidStatus, match="403"):
            await connect(site, client, "/channels/live/", site.two)


async def test_the_page_looks_at_every_process_and_disconnects_in_them(site: Site) -> None:
    await check_refusals(site)
    client, text = await sign_in(site, "root")
    async with contextlib.aclosing(client):
        assert re.search(r"channels_admin/live\.\w{12}\.js", text)
        token = re.search(r'data-page="([^"]+)"', text)
        path = re.search(r'data-url="([^"]+)"', text)
        async with (
            connect(site, client, "/ws/", site.two) as other,
            connect(site, client, path[1], site.one) as live,
        ):
            await live.send(json.dumps({"type": "watch", "page": token[1], "text": "/ws/"}))
            found = await until_message(
                live,
                lambda m: m.get("totals", {}).get("processes") == 2 and m["connections"]["total"],
            )
            (row,) = found["connections"]["rows"]
            assert (row["path"], row["username"], row["groups"]) == ("/ws/", "root", ["room"])
            assert found["groups"] == [["default", "room", 1]]
            for _ in range(3):
                await other.send("hello")
                await other.recv()
            await until_message(live, lambda m: (m.get("totals") or {}).get("received"))
            await live.send(
                json.dumps({"type": "disconnect", "by": "channel", "value": row["channel"]})
            )
            await until_message(live, lambda m: m["type"] == "disconnected")
            async with asyncio.timeout(10):
                await other.wait_closed()
            assert other.close_code == 4401
            await until_message(
                live, lambda m: m["type"] == "figures" and not m["connections"]["total"]
            )
    assert f"Disconnected the connections of channel {row['channel']}." in site.run(ENTRIES)
