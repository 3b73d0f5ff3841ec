import asyncio
import time

import pytest

from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.sender import Sender
from channels.layers.redis.scripts import SCRIPTS

from .....proxy import Proxy


@pytest.fixture
async def sender(shared_broker, prefix):
    servers, bases = parse_hosts([shared_broker.address] * 2, prefix)
    sender = Sender(servers, bases)
    yield sender
    await sender.aclose()


async def test_appends_go_to_their_partition_in_order(sender, redis, prefix):
    for number in range(2):
        queue = f"{{{prefix}:{number}}}:queue:q"
        appends = [
            sender.connections[number].append(
                "enqueue", [queue, f"{queue}:expiry"], f"{number}-{n}", 100, 9000
            )
            for n in range(10)
        ]
        assert await asyncio.gather(*appends) == [[1, 0]] * 10
        found = [fields[b"m"].decode() for _, fields in redis.xrange(queue)]
        assert found == [f"{number}-{n}" for n in range(10)]


async def test_each_sender_has_a_key_of_its_own_that_expires(sender, redis, prefix):
    servers, bases = sender.connections, [f"{{{prefix}:0}}"]
    other = Sender(parse_hosts([redis.get_connection_kwargs()], prefix)[0], bases)
    for each in (sender, other):
        keys = [f"{bases[0]}:queue:q", f"{bases[0]}:queue:q:expiry"]
        await each.connections[0].append("enqueue", keys, "m", 100, 9000)
    await other.aclose()
    assert len(servers) == 2
    senders = redis.keys(f"{bases[0]}:sender:*")
    assert len(senders) == 2
    assert all(0 < redis.pttl(key) <= 120_000 for key in senders)
    assert redis.xlen(f"{bases[0]}:queue:q") == 2


async def test_closing_waits_for_all_servers_at_once(shared_broker, prefix):
    async with Proxy(shared_broker.address) as proxy:
        sender = Sender(*parse_hosts([proxy.address] * 4, prefix))
        await asyncio.gather(*(connection.call("PING") for connection in sender.connections))
        proxy.stall()
        calls = [connection.call("PING") for connection in sender.connections]
        before = time.monotonic()
        await sender.aclose()
        assert time.monotonic() - before < 3
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, ConnectionError) for result in results)


async def test_a_call_that_was_refused_is_not_taken_for_one_that_was_repeated(
    sender, redis, prefix
):
    """The server knows one script and not the other, as when a new version is rolled out."""
    base = f"{{{prefix}:0}}"
    redis.xadd(f"{base}:inbox:p", {"h": ""})
    redis.zadd(f"{base}:group:g", {"p:p": 1e15})
    redis.script_flush()
    redis.script_load(SCRIPTS["send"].source)
    to_group, direct = await asyncio.gather(
        sender.connections[0].append(
            "group_send", [f"{base}:group:g"], base, "gg", b"one", 100, 60_000
        ),
        sender.connections[0].append("send", [f"{base}:inbox:p"], "cname", b"two", 100),
    )
    assert (to_group[0], direct) == (1, 1)
    found = [next(iter(fields.values())) for _, fields in redis.xrange(f"{base}:inbox:p")]
    assert sorted(found) == [b"", b"one", b"two"]
