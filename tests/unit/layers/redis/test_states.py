"""States at the servers: where they are, how long keys live, and what a repeated script does."""

import time

import pytest

from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.keys import state_expiry_key, state_key
from channels.layers.redis.partitions import Partitions
from channels.layers.redis.scripts import SCRIPTS
from channels.layers.redis.states import States

from ....brokers import running


@pytest.fixture
async def partitions(shared_broker, prefix):
    partitions = Partitions(*parse_hosts([shared_broker.address] * 3, prefix))
    yield partitions
    await partitions.senders.pop().aclose()


@pytest.fixture
def states(partitions):
    return States(partitions)


@pytest.fixture
def keys(partitions):
    base = partitions.bases[partitions.number_of("jobs")]
    states = state_key(base, "jobs")
    return states, state_expiry_key(states)


async def test_each_collection_is_where_its_name_says(states, partitions, redis):
    for n in range(8):
        assert await states.set(f"c{n}", "field", b"%d" % n, 60, None, 100)
    for n in range(8):
        key = state_key(partitions.bases[partitions.number_of(f"c{n}")], f"c{n}")
        assert redis.hgetall(key) == {b"field": b"0 %d" % n}
        assert await states.get(f"c{n}", None) == {"field": b"%d" % n}


async def test_a_value_may_be_any_bytes(states):
    value = bytes(range(256)) + b" 7 \n\0"
    await states.set("jobs", "one", value, 60, 2**53, 100)
    assert await states.get("jobs", "one") == {"one": value}
    assert not await states.set("jobs", "one", b"older", 60, 2**53 - 1, 100)
    assert not await states.set("jobs", "one", b"other", 60, 2**53, 100)
    assert await states.set("jobs", "one", value, 60, 2**53, 100), "the same, as when repeated"


async def test_keys_live_as_long_as_the_state_that_lives_longest(states, redis, keys):
    await states.set("jobs", "long", b"x", 500, None, 100)
    await states.set("jobs", "short", b"x", 5, None, 100)
    for key in keys:
        assert 490_000 < redis.pttl(key) <= 500_000
    for field in ("long", "short"):
        await states.delete("jobs", field)
    assert not redis.exists(*keys)


async def test_what_has_expired_is_removed_by_who_sets_a_state(states, redis, keys):
    now = time.time() * 1000
    fields = {f"old-{n}": now - 5 for n in range(30)}
    redis.hset(keys[0], mapping=dict.fromkeys(fields, b"9 x"))
    redis.zadd(keys[1], fields)
    assert await states.get("jobs", None) == {}
    assert await states.get("jobs", "old-1") == {}
    assert await states.set("jobs", "old-1", b"new", 60, 1, 100)
    assert redis.hgetall(keys[0]) == {b"old-1": b"1 new"}
    assert redis.zcard(keys[1]) == 1


async def test_a_smaller_capacity_makes_room_at_once(states, redis, keys):
    for n in range(5):
        await states.set("jobs", f"f{n}", b"x", 60 + n, None, 5)
    await states.set("jobs", "new", b"x", 30, None, 2)
    assert set(await states.get("jobs", None)) == {"f4", "new"}
    assert redis.hlen(keys[0]) == redis.zcard(keys[1]) == 2


async def test_a_field_whose_value_is_gone_is_left_out(states, redis, keys):
    for field in ("one", "two"):
        await states.set("jobs", field, b"x", 60, None, 100)
    redis.hdel(keys[0], "one")
    assert await states.get("jobs", None) == {"two": b"x"}


def test_scripts_run_on_the_oldest_server():
    with running("redis-6.2") as broker, broker.client() as redis:

        def run(script, *arguments):
            return redis.eval(SCRIPTS[script].source, 2, "k", "k:expiry", *arguments)

        assert run("set_state", "one", "x", 60_000, 3, 1) == 1
        assert run("set_state", "two", "y", 90_000, "", 1) == 1
        assert run("set_state", "two", "z", 90_000, 0, 1) == 0
        assert run("get_states") == [b"two", b"0 y"]
        assert run("get_states", "one") == []
