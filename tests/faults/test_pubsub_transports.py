"""Over TLS and Unix sockets, on either kind of event loop: exchanged, broken, repaired."""

import asyncio
import uuid

import pytest
import uvloop

from channels.layers.redis import RedisPubSubChannelLayer

from ..brokers import Broker
from ..ports import free_port
from ..topologies.harness import Authority, redis_with_tls

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def addresses(authority, tmp_path_factory):
    port, socket = free_port(), tmp_path_factory.mktemp("socket") / "redis"
    broker = Broker(
        redis_with_tls(), "--tls-port", str(port), "--unixsocket", str(socket),
        *authority.server_options,
    )  # fmt: skip
    try:
        broker.start()
        tls = {"address": f"rediss://127.0.0.1:{port}", "ssl_ca_certs": str(authority.ca)}
        yield broker, {"tls": tls, "unix": f"unix://{socket}", "tcp": broker.url}
    finally:
        broker.remove()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", ["tls", "unix", "tcp"])
def test_it_works_and_is_repaired(addresses, run, kind):
    broker, hosts = addresses

    async def exchange():
        repaired = asyncio.Event()
        layer = RedisPubSubChannelLayer(
            hosts=[hosts[kind]], prefix=uuid.uuid4().hex, on_reconnect=repaired.set
        )
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        for size in (10, 3_000_000):
            message = {"type": "test.news", "data": "x" * size}
            await layer.group_send("group", message)
            assert await layer.receive(channel) == message
            broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
            await repaired.wait()
            repaired.clear()
            await layer.send(channel, message)
            assert await layer.receive(channel) == message
        await layer.aclose()

    run(within(exchange()))


async def within(coroutine):
    async with asyncio.timeout(15):
        await coroutine
