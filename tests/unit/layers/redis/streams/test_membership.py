import asyncio

import pytest

from channels._runtime.loops import PerLoop
from channels.exceptions import BrokerError
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.sender import Sender
from channels.layers.redis.keys import consistent_hash
from channels.layers.redis.streams.membership import Membership

from .....asgi import until
from .....proxy import Proxy

LEASE = 60_000


@pytest.fixture
def members():
    """The groups that have members here."""
    return set()


@pytest.fixture
async def make(prefix, members):
    made = []

    def make(*addresses):
        servers, bases = parse_hosts(list(addresses), prefix)
        senders = PerLoop(lambda: Sender(servers, bases))
        made.append(senders)
        return Membership("p", bases, LEASE, senders, members.__contains__)

    yield make
    for senders in made:
        await senders.aclose()


@pytest.fixture
def membership(make, shared_broker):
    return make(shared_broker.address)


@pytest.fixture
def key(base):
    return f"{base}:group:g"


async def test_a_process_is_one_member_for_as_long_as_its_lease(membership, redis, key):
    assert membership.keys(0) == []
    await asyncio.gather(*(membership.join("g") for _ in range(5)))
    assert membership.keys(0) == [key]
    ((member, until_when),) = redis.zrange(key, 0, -1, withscores=True)
    assert member == b"p:p"
    assert 0 < until_when - redis.time()[0] * 1000 <= LEASE + 1000
    assert 0 < redis.pttl(key) <= LEASE


async def test_who_is_a_member_asks_no_more(membership, redis, key):
    await membership.join("g")
    redis.delete(key)
    await membership.join("g")
    assert not redis.exists(key)


async def test_everybody_is_told_why_it_cannot_join(membership, redis, key):
    redis.set(key, "no group")
    results = await asyncio.gather(
        *(membership.join("g") for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [BrokerError] * 3
    assert membership.keys(0) == []
    redis.delete(key)
    await membership.join("g")
    assert redis.zscore(key, "p:p")


async def test_who_gives_up_waiting_takes_nobody_along(membership, redis, key):
    first, second = (asyncio.create_task(membership.join("g")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert redis.zscore(key, "p:p")


async def test_what_the_loop_before_was_about_to_join_is_joined_already(membership, redis, key):
    redis.set(key, "no group")  # so that this fails, though late
    membership.start_joining("g")
    membership.take_over()
    await membership.join("g")
    await membership.join("other")  # over the same connection, so the first has failed by then
    assert membership.keys(0)[0] == key
    redis.delete(key)


async def test_groups_are_where_their_names_say(make, shared_broker, redis, prefix):
    membership = make(*[shared_broker.address] * 3)
    groups = [f"group-{n}" for n in range(20)]
    for group in groups:
        await membership.join(group)
    for partition in range(3):
        there = [group for group in groups if consistent_hash(group, 3) == partition]
        keys = [f"{{{prefix}:{partition}}}:group:{group}" for group in there]
        assert membership.keys(partition) == keys
        assert redis.exists(*keys) == len(keys) > 0


async def test_it_leaves_the_groups_that_nobody_is_in_any_more(membership, members, redis, base):
    for group in ("left", "kept"):
        await membership.join(group)
    members.add("kept")
    for group in ("left", "kept", "never-joined", "left"):
        membership.emptied(group)
    (left,) = membership.leave_emptied()
    await left
    assert membership.keys(0) == [f"{base}:group:kept"]
    assert redis.keys(f"{base}:group:*") == [f"{base}:group:kept".encode()]
    assert membership.leave_emptied() == []


async def test_what_is_asked_for_last_is_what_the_server_sees_last(membership, redis, key):
    for _ in range(50):
        membership.start_joining("g")
        membership.emptied("g")
        membership.leave_emptied()
        await membership.join("g")
        assert redis.zscore(key, "p:p")
        membership.emptied("g")
        membership.leave_emptied()
    await until(lambda: not redis.exists(key))


async def test_what_is_forgotten_is_the_servers_to_forget_too(membership, redis, key):
    await membership.join("g")
    membership.emptied("g")
    membership.clear()
    assert membership.keys(0) == []
    assert redis.exists(key)
    await membership.join("g")
    assert membership.leave_emptied() == []


async def test_it_leaves_all_groups_in_the_end(membership, redis, base):
    await asyncio.gather(*(membership.join(f"g{n}") for n in range(2500)))
    assert len(redis.keys(f"{base}:group:*")) == 2500
    membership.leave_all()
    assert membership.keys(0) == []
    await until(lambda: not redis.keys(f"{base}:group:*"))


async def test_a_server_that_is_silent_is_told_of_the_end_when_it_hears_again(
    make, shared_broker, redis, base
):
    async with Proxy(shared_broker.address) as proxy:
        membership = make(proxy.address)
        await asyncio.gather(*(membership.join(f"g{n}") for n in range(50)))
        proxy.stall()
        membership.leave_all()
        assert membership.keys(0) == []
        proxy.flow()
        await until(lambda: not redis.keys(f"{base}:group:*"))
