import asyncio

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.redis.connection.commands import CommandConnection
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.membership_changes import MembershipChanges

from .....proxy import Proxy

LEASE = 60_000


@pytest.fixture
async def connect(prefix):
    connections = []

    def connect(address, **options):
        connections.append(
            CommandConnection(parse_hosts([address], prefix)[0][0], "sender", **options)
        )
        return MembershipChanges(connections[-1])

    connect.connections = connections
    yield connect
    for connection in connections:
        await connection.aclose()


@pytest.fixture
async def changes(connect, shared_broker):
    return connect(shared_broker.address)


def commands(redis, name="evalsha"):
    """How many of them the server has carried out."""
    return redis.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]


async def test_what_is_asked_for_in_one_turn_is_done_in_its_order(changes, redis, base):
    keys = [f"{base}:group:{name}" for name in ("stays", "leaves")]
    last = [
        changes.make(key, "p:p", lease)
        for key, leases in zip(keys, [(LEASE, 0, LEASE), (LEASE, LEASE, 0)], strict=True)
        for lease in leases
    ]
    await asyncio.gather(*last)
    assert redis.zscore(keys[0], "p:p")
    assert not redis.exists(keys[1])
    assert 0 < redis.pttl(keys[0]) <= LEASE


async def test_thousands_are_a_script_for_each_thousand(changes, redis, base):
    await changes.make(f"{base}:group:first", "p:p", LEASE)  # the server knows the script now
    keys = [f"{base}:group:{n}" for n in range(12_000)]
    for lease, exist in ((LEASE, 12_000), (0, 0)):
        before = commands(redis)
        await asyncio.gather(*(changes.make(key, "p:p", lease) for key in keys))
        assert commands(redis) - before == 12
        assert redis.exists(*keys) == exist


async def test_other_commands_are_sent_between_two_chunks_of_a_thousand(
    connect, changes, redis, base
):
    await changes.make(f"{base}:group:first", "p:p", LEASE)
    many = [changes.make(f"{base}:group:{n}", "p:p", LEASE) for n in range(5000)]
    await many[0]
    assert await connect.connections[-1].call("ZCARD", f"{base}:group:999") == 1
    assert not many[-1].done()
    await asyncio.gather(*many)


async def test_a_key_that_holds_something_else_fails_its_own_change_only(changes, redis, base):
    keys = [f"{base}:group:{name}" for name in "abc"]
    redis.set(keys[1], "no group")
    for lease in (LEASE, 0):
        first, second, third = (changes.make(key, "p:p", lease) for key in keys)
        await asyncio.gather(first, third)
        with pytest.raises(BrokerError, match=r"group:b should hold a group"):
            await second


async def test_a_change_that_is_given_up_is_not_made(changes, redis, base):
    given_up, kept = (changes.make(f"{base}:group:{name}", "p:p", LEASE) for name in "ab")
    given_up.cancel()
    await kept
    assert redis.keys(f"{base}:group:*") == [f"{base}:group:b".encode()]


async def test_all_changes_fail_at_once_when_the_server_does_not_answer(connect, shared_broker):
    async with Proxy(shared_broker.address) as proxy:
        changes = connect(proxy.address, patience=0.2)
        await changes.make("group", "p:p", 1)
        proxy.refuse()
        many = [changes.make(f"group-{n}", "p:p", LEASE) for n in range(3000)]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*many, return_exceptions=True)
        assert {type(result) for result in results} == {BrokerUnavailable}
        async with asyncio.timeout(5):
            await changes.finish()  # nothing is left that waits


async def test_finishing_waits_for_what_waits(changes, redis, base):
    many = [changes.make(f"{base}:group:{n}", "p:p", LEASE) for n in range(2500)]
    await changes.finish()
    await asyncio.wait(many)
    assert len(redis.keys(f"{base}:group:*")) == 2500
    await changes.finish()
