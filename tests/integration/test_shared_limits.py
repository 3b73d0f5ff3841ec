"""Connections that count in all processes: real servers on one Redis, and what happens to each."""

import asyncio
import contextlib
import signal

import pytest
import websockets

from tests.brokers import running
from tests.processes import environment
from tests.servers import SERVERS, RunningServer

pytestmark = pytest.mark.server

LAYERS = [
    "channels_redis.core.RedisChannelLayer",
    pytest.param("channels_redis.pubsub.RedisPubSubChannelLayer", marks=pytest.mark.slow),
]
KINDS = [
    pytest.param(name, marks=[] if name == "uvicorn" else [pytest.mark.slow]) for name in SERVERS
]

# Of the site's limits.
MOST = 3


@pytest.fixture(scope="module", params=LAYERS, ids=["streams", "pubsub"])
def sites(request, tmp_path_factory):
    """A broker, and what starts two processes of a site that shares limits through it."""
    with running("valkey") as broker, contextlib.ExitStack() as stack:

        def start(lease, kind="uvicorn"):
            SERVERS[kind].require()
            env = environment(
                SITE_BROKER=broker.url, SITE_LAYER=request.param, SITE_LEASE=str(lease)
            )
            return [
                stack.enter_context(
                    RunningServer(
                        SERVERS[kind],
                        "tests.integration.shared_limits_site:application",
                        log=tmp_path_factory.mktemp("site") / "log",
                        env=env,
                    )
                )
                for _ in range(2)
            ]

        yield broker, start


@pytest.fixture(scope="module")
def short(sites):
    """Two processes with leases of two seconds."""
    return sites[1](2)


@pytest.fixture
async def clients():
    async with contextlib.AsyncExitStack() as stack:

        async def connect(server, user):
            socket = await websockets.connect(f"{server.ws_url}/?{user}", compression=None)
            stack.push_async_callback(socket.close)
            return socket

        yield connect


async def status_of(server, user):
    """With which status a handshake is refused; 101 if it is not, and then it is closed again."""
    try:
        async with websockets.connect(f"{server.ws_url}/?{user}", compression=None):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


def refusal(server):
    return 429 if server.kind.can.denial_response else 403


async def until_let_in(server, user):
    async with asyncio.timeout(20):
        while await status_of(server, user) != 101:
            await asyncio.sleep(0.05)


async def until_refused(server, user):
    async with asyncio.timeout(20):
        while await status_of(server, user) == 101:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_ends_in_good_order_is_free_at_once(sites, clients, kind):
    one, two = sites[1](600, kind)
    user = f"order-{kind}"
    first = await clients(one, user)
    await clients(one, user)
    await clients(two, user)
    assert {await status_of(server, user) for server in (one, two, two, one)} == {refusal(one)}
    assert await status_of(two, "somebody") == 101
    await first.close()
    await until_let_in(two, user)
    await asyncio.to_thread(one.stop)
    await clients(two, user)
    await until_let_in(two, user)
    assert "connections_per_user of CHANNELS_LIMITS" in two.output
    assert "Traceback" not in one.output + two.output


async def test_a_storm_lets_in_as_many_as_there_may_be(short):
    user, sockets = "storm", []

    async def come(server):
        try:
            socket = await websockets.connect(f"{server.ws_url}/?{user}", compression=None)
        except websockets.InvalidStatus as error:
            return error.response.status_code
        sockets.append(socket)
        return 101

    for _ in range(3):
        statuses = await asyncio.gather(*(come(server) for server in short * 15))
        assert set(statuses) == {101, 429}
        assert len(sockets) == MOST
        await sockets.pop().close()
        await until_let_in(short[0], user)
        await until_let_in(short[1], user)
    for socket in sockets:
        await socket.close()


async def test_what_a_killed_process_held_is_free_when_its_lease_has_ended(short, clients):
    one, two = short
    for _ in range(MOST):
        await clients(one, "killed")
    assert await status_of(two, "killed") == 429
    await asyncio.to_thread(one.kill)
    assert await status_of(two, "killed") == 429, "nobody knows yet that it is gone"
    await until_let_in(two, "killed")
    await asyncio.to_thread(one.start)


async def test_a_process_that_stood_still_counts_again(short, clients):
    one, two = short
    held = [await clients(one, "still") for _ in range(MOST)]
    one.process.send_signal(signal.SIGSTOP)
    try:
        await until_let_in(two, "still")
        others = [await clients(two, "still") for _ in range(MOST)]
    finally:
        one.process.send_signal(signal.SIGCONT)
    await until_refused(two, "still")
    for socket in held:
        await socket.send("it is still open")
        assert await socket.recv() == "it is still open"
    for socket in others:
        await socket.close()
    for _ in range(3):  # it has told how many it has by now, or does so before it is asked
        await until_refused(two, "still")
    for socket in held:
        await socket.close()
    await until_let_in(two, "still")


async def test_a_broker_that_restarts_empty_is_told_what_is_open(sites, short, clients):
    broker, _ = sites
    one, two = short
    held = [await clients(server, "restart") for server in (one, one, two)]
    broker.kill()
    # Without it each process counts by itself.
    more = await clients(two, "restart")
    assert "Limits are counted in each process by itself for 5 s" in two.output
    await asyncio.to_thread(broker.start)
    for server in short:
        await until_refused(server, "restart")
    for socket in held:
        await socket.send("it has stayed open")
        assert await socket.recv() == "it has stayed open"
    await more.close()
    await held.pop().close()
    for server in short:
        await until_let_in(server, "restart")
    for socket in held:
        await socket.close()
    async with asyncio.timeout(20):
        while broker.cli("KEYS", "*:place:*"):
            await asyncio.sleep(0.05)
