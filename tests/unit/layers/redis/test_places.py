"""Places at a real server, on both layers: what processes hold together, and who is gone."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from channels.exceptions import NotSupported
from channels.layers.base import BaseChannelLayer
from channels.layers.redis import keys
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

LAYERS = {"streams": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}


async def settled(*layers):
    """What the layers of this event loop have to tell the server has been told."""
    for layer in layers:
        places = layer._places.peek()
        if places is not None and places._task is not None:
            await asyncio.wait((places._task,))


@pytest.fixture(params=LAYERS)
async def make(request, shared_broker, prefix):
    """Makes layers of processes that share a server. Their leases last for ``lease`` seconds."""
    made = []

    def make(lease=30.0, hosts=1):
        kind = type("Layer", (LAYERS[request.param],), {"place_lease": lease})
        made.append(kind(hosts=[shared_broker.url] * hosts, prefix=prefix))
        return made[-1]

    yield make
    for layer in made:
        await layer.aclose()
    await make().flush()
    await made[-1].aclose()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_burst_takes_as_many_as_there_are(make, redis, base):
    layers = [make() for _ in range(3)]
    taking = [layer.take_places({"user": 50, layer.client_prefix: 30}) for layer in layers * 30]
    answers = await asyncio.gather(*taking)
    assert answers.count(None) == 50
    await settled(*layers)
    held = redis.hvals(keys.place_key(base, "user"))
    assert sum(map(int, held)) == 50
    for layer, answer in zip(layers * 30, answers, strict=True):
        if answer is None:
            layer.give_places(["user", layer.client_prefix])
    await settled(*layers)
    assert not redis.keys(f"{base}:place:*")


async def test_names_are_spread_over_servers_and_what_is_refused_leaves_nothing_there(make):
    layer = make(hosts=3)
    names = [f"name.{number}" for number in range(20)]
    assert {layer.consistent_hash(name) for name in names} == {0, 1, 2}
    most = dict.fromkeys(names, 2)
    assert [await layer.take_places(most) for _ in range(2)] == [None, None]
    assert await layer.take_places({"new": 1, **most, "newer": 1}) in names
    await settled(layer)
    assert await make(hosts=3).take_places({"new": 1, "newer": 1}) is None


async def test_what_a_process_held_that_is_gone_is_free_when_its_lease_ends(make, redis, base):
    dead, other = make(lease=0.5), make()
    assert await dead.take_places({"user": 1}) is None
    dead._places.get()._timer.cancel()  # it gives no more signs of life
    assert await other.take_places({"user": 1}) == "user"
    await until(lambda: not redis.exists(keys.holder_key(base, dead._places.get()._holder)))
    assert await other.take_places({"user": 1}) is None
    assert redis.hlen(keys.place_key(base, "user")) == 1


async def test_a_lease_is_renewed_for_as_long_as_something_is_held(make, redis, base):
    layer, other = make(lease=0.6), make()
    assert await layer.take_places({"user": 1}) is None
    places = layer._places.get()
    lease = keys.holder_key(base, places._holder)
    for _ in range(4):
        calls = int(redis.get(lease))
        await until(lambda calls=calls: int(redis.get(lease) or 0) > calls)
    assert await other.take_places({"user": 1}) == "user"
    layer.give_places(["user"])
    await until(lambda: places._timer is None and not redis.exists(lease))
    assert await layer.take_places({"user": 1}) is None, "it goes on under another name"


async def test_a_process_that_was_paused_tells_again_what_it_holds(make, redis, base, caplog):
    paused, other = make(), make()
    assert await paused.take_places({"user": 2, "mine": 5}) is None
    redis.delete(keys.holder_key(base, paused._places.get()._holder))
    assert [await other.take_places({"user": 2}) for _ in range(3)] == [None, None, "user"]
    assert await paused.take_places({"mine": 5}) is None
    await settled(paused)
    assert "has forgotten what this process has open, and is told of 2 limits again" in caplog.text
    assert sum(map(int, redis.hvals(keys.place_key(base, "user")))) == 3
    other.give_places(["user"])
    await settled(other)
    assert await other.take_places({"user": 2}) == "user", "it held two, one of them too many"
    now = keys.place_key(base, "mine"), paused._places.get()._holder
    assert redis.hget(*now) == b"2"


async def test_a_server_that_has_lost_the_last_calls_is_told_everything(make, redis, base):
    """As a replica that takes over may have."""
    layer = make()
    assert [await layer.take_places({"user": 2}) for _ in range(2)] == [None, None]
    assert await layer.take_places({"mine": 1}) is None
    places = layer._places.get()
    lease = keys.holder_key(base, places._holder)
    before = redis.hgetall(keys.place_key(base, "user")), redis.get(lease)
    layer.give_places(["user", "user"])
    await settled(layer)
    redis.hset(keys.place_key(base, "user"), mapping=before[0])
    redis.set(lease, before[1], px=30_000)
    places._renew()
    await settled(layer)
    assert await make().take_places({"user": 1}) is None
    assert await make().take_places({"mine": 1}) == "mine"
    assert not redis.exists(lease)


async def test_a_place_is_kept_for_as_long_as_it_is_held(make, redis, base, monkeypatch):
    monkeypatch.setattr("channels.layers.broker.places._KEPT", 1.0)
    layer = make(lease=0.6)
    assert await layer.take_places({"user": 1}) is None
    key = keys.place_key(base, "user")
    for _ in range(3):
        await until(lambda: redis.pttl(key) < 600)
        await until(lambda: redis.pttl(key) > 700)
    assert await make().take_places({"user": 1}) == "user"


async def test_a_call_that_is_given_up_leaves_nothing(make, redis, base):
    layer = make()
    assert await layer.take_places({"mine": 1}) is None
    tasks = [asyncio.ensure_future(layer.take_places({"user": 100})) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)
    await settled(layer)
    assert redis.hvals(keys.place_key(base, "user")) == [b"10"]
    assert layer._places.get()._former is None, "nothing had to be told again"


async def test_what_ends_with_the_layer_is_free(make):
    layer = make()
    assert await layer.take_places({"user": 1}) is None
    await layer.aclose()
    layer.give_places(["user"])  # a connection that ends later
    assert await make().take_places({"user": 1}) is None


async def test_a_flush_forgets_nothing_that_is_open(make):
    layer, other = make(), make()
    assert await layer.take_places({"user": 2}) is None
    await layer.flush()
    assert await layer.take_places({"user": 2}) is None
    await settled(layer)
    assert await other.take_places({"user": 2}) == "user"


async def test_a_key_that_holds_something_else_is_an_error(make, redis, base, caplog):
    layer = make()
    redis.set(keys.place_key(base, "user"), "text")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await layer.take_places({"user": 1})
    layer.add_places(["user"])
    await settled(layer)
    assert "The broker could not be told what this process has open" in caplog.text
    redis.delete(keys.place_key(base, "user"))
    layer._places.get()._renew()
    await settled(layer)
    assert await make().take_places({"user": 1}) == "user"


async def test_a_layer_without_places_says_so():
    layer = BaseChannelLayer()
    assert not layer.supports_places
    with pytest.raises(NotSupported, match="BaseChannelLayer counts no places"):
        await layer.take_places({"a": 1})
    layer.add_places(["a"])
    layer.give_places(["a"])


# The law

NAMES = st.sampled_from(["a", "b", "c"])
MOST = {"a": 2, "b": 4, "c": 100}


class Processes(RuleBasedStateMachine):
    """Never more are held than there may be, and nothing stays when all have given it back."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.layers = [self.new() for _ in range(3)]
        self.held = []

    def new(self):
        return RedisChannelLayer(hosts=[self.broker.url], prefix="law")

    def run(self, coroutine):
        return self.runner.run(coroutine)

    @rule(wanted=st.lists(st.tuples(st.integers(0, 2), st.sets(NAMES, min_size=1)), max_size=12))
    def take(self, wanted):
        async def take():
            return await asyncio.gather(
                *(
                    self.layers[number].take_places({name: MOST[name] for name in names})
                    for number, names in wanted
                )
            )

        for (number, names), full in zip(wanted, self.run(take()), strict=True):
            if full is None:
                self.held.append((self.layers[number], names))
            else:
                assert full in names

    @rule(which=st.lists(st.integers(0, 1000), max_size=6), cancelled=st.sets(NAMES))
    def give(self, which, cancelled):
        async def give():
            for number in which:
                if self.held:
                    layer, names = self.held.pop(number % len(self.held))
                    layer.give_places(names)
            if cancelled:
                task = asyncio.ensure_future(
                    self.layers[0].take_places({name: MOST[name] for name in cancelled})
                )
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait((task,))
            await settled(*self.layers)

        self.run(give())

    @rule(number=st.integers(0, 2))
    def forget(self, number):
        """The server loses a holder's lease; that one has told it again before others ask."""
        layer = self.layers[number]

        async def forget():
            places = layer._places.get()
            with self.broker.client() as client:
                client.delete(keys.holder_key("{law:0}", places._holder))
            places._renew()
            await settled(layer)

        self.run(forget())

    @rule(number=st.integers(0, 2))
    def die(self, number):
        """A process is killed, and its lease ends."""
        layer = self.layers[number]
        self.held = [held for held in self.held if held[0] is not layer]

        async def die():
            places = layer._places.get()
            await settled(layer)
            if places._timer is not None:
                places._timer.cancel()
            with self.broker.client() as client:
                client.delete(keys.holder_key("{law:0}", places._holder))
            await layer.close_pools()

        self.run(die())
        self.layers[number] = self.new()

    @invariant()
    def what_is_held_is_what_the_server_knows_and_no_more_than_there_may_be(self):
        self.run(settled(*self.layers))
        with self.broker.client() as client:
            for name, most in MOST.items():
                known = client.hgetall(keys.place_key("{law:0}", name))
                alive = [
                    int(number)
                    for holder, number in known.items()
                    if client.exists(keys.holder_key("{law:0}", holder.decode()))
                ]
                held = sum(name in names for _, names in self.held)
                assert held <= most
                assert sum(alive) == held

    def teardown(self):
        async def end():
            for layer, names in self.held:
                layer.give_places(names)
            await settled(*self.layers)
            free = self.new()
            for name, most in MOST.items():
                taken = [await free.take_places({name: most}) for _ in range(most + 1)]
                assert taken == [None] * most + [name]
            for layer in (free, *self.layers):
                await layer.flush()
                await layer.aclose()

        self.run(end())
        self.runner.close()


def test_the_law_of_counting(shared_broker):
    machine = type("Counted", (Processes,), {"broker": shared_broker})
    machine.TestCase.settings = settings(
        max_examples=int(os.environ.get("LAW_CASES", "8")),
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()
    assert not shared_broker.cli("KEYS", "{law:0}:place:*")
