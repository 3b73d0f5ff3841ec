"""Real servers, clients with tokens of all sorts, and a search through all that was written."""

import json
import subprocess
import sys
import time
import uuid

import httpx
import jwt
import pytest
import websockets

from tests.brokers import running
from tests.processes import environment
from tests.servers import ROOT, SERVERS, RunningServer

pytestmark = pytest.mark.server

SECRET = "a secret of more than thirty-two bytes"

# Prints tokens as JSON: good ones, some that expire soon, and tickets.
PREPARE = """
import json
from tests.integration.tokens_site import SignedTokenVerifier, get_user_model, make_ticket
from django.core.management import call_command
call_command("migrate", verbosity=0)
User = get_user_model()
anna, bert = (User.objects.create_user(name, password="secret") for name in ("anna", "bert"))
signed = SignedTokenVerifier()
print(json.dumps({
    "good": signed.make_token(anna),
    "newer": signed.make_token(anna, lifetime=5000),
    "other": signed.make_token(bert),
    "late": signed.make_token(anna, lifetime=0.001),
    "tickets": [make_ticket(anna) for _ in range(5)],
}))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the site's database and cache, and tokens for it."""
    folder = tmp_path_factory.mktemp("tokens")
    env = environment(SITE_FOLDER=str(folder))
    done = subprocess.run(
        [sys.executable, "-c", PREPARE], cwd=ROOT, env=env, check=True, capture_output=True
    )
    line = next(it for it in done.stdout.decode().splitlines() if it.startswith('{"good"'))
    return folder, json.loads(line)


class Client:
    """Remembers every token that it has sent."""

    def __init__(self, server):
        self.server = server
        self.sent = []

    def bearer(self, *tokens):
        self.sent += tokens
        return [("Authorization", f"Bearer {token}") for token in tokens]

    async def talk(self, *, headers=(), query="", offered=None, frames=(), says=None):
        """What comes back, and the code of the close; or the status of a refusal."""
        heard = []
        try:
            async with websockets.connect(
                f"{self.server.ws_url}/ws/{query}",
                additional_headers=headers,
                subprotocols=offered,
            ) as socket:
                for frame in (*frames, *([says] if says else ())):
                    await socket.send(frame)
                async for text in socket:
                    heard.append(text)
                    if says and len(heard) == len(frames) + 1:
                        break
        except websockets.InvalidStatus as error:
            return error.response.status_code
        except websockets.ConnectionClosed:
            pass
        return [*heard, socket.close_code, socket.subprotocol]

    def refresh(self, token):
        self.sent.append(token)
        return json.dumps({"type": "channels.token", "token": token})

    async def stream(self, headers):
        async with (
            httpx.AsyncClient() as client,
            client.stream("GET", f"{self.server.origin}/events/", headers=headers) as response,
        ):
            async for line in response.aiter_lines():
                if line.startswith("data"):
                    return response.status_code, line
            return response.status_code, ""


@pytest.mark.parametrize(
    "name",
    [name if name == "uvicorn" else pytest.param(name, marks=pytest.mark.slow) for name in SERVERS],
)
async def test_no_token_is_written_anywhere(name, prepared, tmp_path):
    folder, tokens = prepared
    kind = SERVERS[name]
    kind.require()
    ticket = tokens["tickets"].pop()
    with RunningServer(
        kind,
        "tests.integration.tokens_site:application",
        log=tmp_path / "log",
        env={"SITE_FOLDER": str(folder)},
    ) as server:
        client = Client(server)
        refusal = {401: 401, 400: 400, 503: 503} if kind.can.denial_response else {}

        async def expect_refused(status, **how):
            assert await client.talk(**how) == refusal.get(status, 403)

        good, bad = client.bearer(tokens["good"]), f"{tokens['good']}x"
        assert (await client.talk(headers=good, says="?"))[0] == "anna"
        assert (await client.talk(says="?"))[0] == "nobody"
        await expect_refused(401, headers=client.bearer(bad))
        await expect_refused(401, headers=client.bearer(tokens["late"]))
        await expect_refused(400, headers=client.bearer(tokens["good"], tokens["newer"]))
        await expect_refused(503, headers=client.bearer(f"broken_{uuid.uuid4().hex}"))
        # As a subprotocol
        offered = ["channels.bearer", tokens["good"]]
        heard = await client.talk(offered=offered, says="?")
        assert (heard[0], heard[-1]) == ("anna", "channels.bearer")
        heard = await client.talk(offered=[*offered, "chat.v1"], says="?")
        assert (heard[0], heard[-1]) == ("anna", "channels.bearer")
        # As a ticket
        client.sent.append(ticket)
        assert (await client.talk(query=f"?ticket={ticket}", says="?"))[0] == "anna"
        await expect_refused(401, query=f"?ticket={ticket}")
        # In frames
        heard = await client.talk(headers=good, frames=[client.refresh(tokens["newer"])], says="?")
        assert json.loads(sorted(heard[:2])[1])["expires_in"] > 4900
        assert (await client.talk(headers=good, frames=[client.refresh(tokens["other"])]))[
            0
        ] == 4401
        assert (await client.talk(headers=good, frames=[client.refresh(tokens["late"])]))[0] == 4419
        # Crashes, with one of them in the consumer's hands
        assert (await client.talk(headers=good, frames=["crash"]))[-2] == 1011
        # Server-sent events
        assert await client.stream(good) == (200, "data: anna")
        assert (await client.stream(client.bearer(bad)))[0] == 401
        # Expiry
        soon = jwt.encode({"sub": "anna", "exp": time.time() + 4}, SECRET, "HS256")
        assert (await client.talk(headers=client.bearer(soon)))[0] == 4419
        metrics = httpx.get(f"{server.origin}/metrics").text
    written = server.output + metrics
    assert "REPORT" in written
    assert "SIGNAL" in written
    assert '"trace_id"' in written
    assert "cannot read [token]" in written
    assert "the token has expired" in written
    for token in set(client.sent):
        secret = token.rpartition(".")[2].removeprefix("ticket_")  # what only the owner knows
        assert len(secret) > 30
        assert secret not in written, written[max(0, written.find(secret) - 2000) :][:2500]


TAKE = """
import asyncio, sys
from channels.security.tokens import TicketVerifier
import tests.integration.tokens_site

async def take(ticket):
    try:
        return bool(await TicketVerifier().verify(ticket))
    except Exception:
        return False

async def main():
    print("ready", flush=True)
    tickets = sys.stdin.readline().split()
    print(sum(await asyncio.gather(*map(take, tickets))), flush=True)

asyncio.run(main())
"""

MAKE = """
from tests.integration.tokens_site import get_user_model, make_ticket
anna = get_user_model().objects.get(username="anna")
print("TICKETS", *[make_ticket(anna) for _ in range(50)])
"""


@pytest.fixture(params=["files", pytest.param("valkey", marks=pytest.mark.slow)])
def env(request, prepared):
    """The site's environment, with its tickets in one cache or another."""
    env = environment(SITE_FOLDER=str(prepared[0]))
    if request.param == "files":
        yield env
    else:
        with running("valkey") as broker:
            yield env | {"SITE_BROKER": broker.url}


def test_two_processes_take_each_ticket_once(env):
    made = subprocess.run(
        [sys.executable, "-c", MAKE], cwd=ROOT, env=env, check=True, capture_output=True, text=True
    ).stdout
    tickets = next(it for it in made.splitlines() if it.startswith("TICKETS")).split()[1:]
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for taker in takers:
            while taker.stdout.readline().strip() != "ready":
                pass
        for taker in takers:
            taker.stdin.write(" ".join(tickets) + "\n")
            taker.stdin.flush()
        taken = [int(taker.communicate(timeout=60)[0].split()[-1]) for taker in takers]
    finally:
        for taker in takers:
            taker.kill()
            taker.wait()
    assert sum(taken) == len(tickets)
