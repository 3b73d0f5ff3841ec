import asyncio

import pytest

from channels._runtime.clock import now
from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import backpressure as backpressure_module
from channels.layers.broker import subscriber as subscriber_module
from channels.layers.local import LocalChannels
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.pubsub import subscription as subscription_module
from channels.layers.redis.pubsub.requests import PLAIN, SHARDED
from channels.layers.redis.pubsub.subscription import Subscription

from .....asgi import until
from .....proxy import Proxy


class Recorder:
    """A recipient that takes note of everything."""

    def __init__(self):
        self.published_to = []
        self.lost = []
        self.restored = []

    def published(self, partition, topic, data, patience):
        self.published_to.append((topic, data))
        if data == b"bomb":
            raise ValueError("a recipient that fails")

    def subscription_lost(self, partition, reason):
        self.lost.append(reason)

    def subscription_restored(self, partition, reason):
        self.restored.append(reason)


@pytest.fixture
async def proxy(shared_broker):
    async with Proxy(shared_broker.address) as proxy:
        yield proxy


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def own(base):
    return f"{base}:process:p".encode()


@pytest.fixture
async def subscribe(proxy, recorder, own):
    subscriptions = []

    async def subscribe(*groups, own=own, commands=PLAIN, former=None, probe=None, **options):
        server = parse_hosts([{"address": proxy.address, **options}], "x")[0][0]
        subscription = Subscription(server, 0, commands, recorder, own, groups, probe)
        subscriptions.append(subscription)
        if former is not None:
            subscription.resume_from(former)
        subscription.start()
        await subscription.wait_until_up()
        return subscription

    yield subscribe
    for subscription in subscriptions:
        await subscription.stop()


@pytest.fixture
def subscribe_with_probes(subscribe, monkeypatch):
    """Subscribe, and see often whether what is sent comes; by default the test answers."""
    monkeypatch.setattr(subscription_module, "PING_EVERY", 0.05)
    monkeypatch.setattr(subscription_module, "PROBE_EVERY", 0.05)

    async def subscribe_with_probes(answer=None):
        probes = []

        def probe():
            probes.append(asyncio.get_running_loop().create_future())
            if answer is not None:
                probes[-1].set_result(answer)
            return probes[-1]

        subscription = await subscribe(probe=probe)
        await until(lambda: probes)
        return subscription, probes

    return subscribe_with_probes


@pytest.fixture
def topic(base):
    return f"{base}:group:g".encode()


@pytest.mark.parametrize("commands", [PLAIN, SHARDED])
async def test_what_is_published_comes_in_order(subscribe, recorder, redis, topic, commands):
    await subscribe(topic, commands=commands)
    for n in range(100):
        redis.execute_command(commands.publish, topic, n)
    await until(lambda: len(recorder.published_to) == 100)
    assert recorder.published_to == [(topic, b"%d" % n) for n in range(100)]
    assert (recorder.lost, recorder.restored) == ([], [])


async def test_topics_come_and_go(subscribe, recorder, redis, topic):
    subscription = await subscribe()
    assert not subscription.has(topic)
    await subscription.subscribe(topic)
    assert subscription.has(topic)
    assert subscription.was_confirmed(topic)
    assert redis.publish(topic, "heard") == 1
    await subscription.barrier()
    subscription.unsubscribe(topic)
    subscription.unsubscribe(b"never subscribed to")
    assert not subscription.has(topic)
    await subscription.barrier()
    assert redis.publish(topic, "unheard") == 0
    assert recorder.published_to == [(topic, b"heard")]


async def test_topics_of_one_turn_travel_together(subscribe, proxy, base):
    subscription = await subscribe()
    seen = []
    proxy.on_request = seen.append
    topics = [f"{base}:group:{n}".encode() for n in range(50)]
    await asyncio.gather(*map(subscription.subscribe, topics))
    assert sum(b"SUBSCRIBE" in data for data in seen) == 1
    assert all(map(subscription.was_confirmed, topics))


async def test_to_subscribe_again_waits_for_what_was_published_before(
    subscribe, recorder, redis, topic
):
    subscription = await subscribe(topic)
    for n in range(500):
        redis.publish(topic, n)
    await subscription.subscribe(topic)
    assert len(recorder.published_to) == 500


async def test_a_recipient_that_fails_misses_one_message(subscribe, recorder, redis, topic, caplog):
    await subscribe(topic)
    redis.publish(topic, "bomb")
    redis.publish(topic, "next")
    await until(lambda: len(recorder.published_to) == 2)
    assert "could not be handed on" in caplog.text


async def test_a_connection_that_breaks_is_repaired_and_told_once(
    subscribe, recorder, proxy, redis, topic, caplog
):
    subscription = await subscribe(topic)
    proxy.cut()
    await until(lambda: recorder.restored)
    assert subscription.up
    assert len(recorder.lost) == 1
    assert recorder.restored == recorder.lost
    assert caplog.text.count(f"may have been lost: {recorder.lost[0]}") == 1
    redis.publish(topic, "after")
    await until(lambda: recorder.published_to)
    assert recorder.published_to == [(topic, b"after")]


async def test_a_barrier_ends_with_the_connection(subscribe, recorder, proxy):
    subscription = await subscribe()
    proxy.stall()
    barrier = subscription.barrier()
    await asyncio.sleep(0)  # it is sent
    proxy.cut()
    async with asyncio.timeout(10):
        await barrier
    proxy.flow()
    await subscription.wait_until_up()
    await subscription.barrier()
    assert subscription.up
    assert len(recorder.restored) == 1


async def test_what_was_wanted_while_there_was_no_connection_is_subscribed_to(
    subscribe, recorder, proxy, redis, topic
):
    subscription = await subscribe()
    proxy.refuse()
    await until(lambda: not subscription.up)
    wanted = asyncio.ensure_future(subscription.subscribe(topic))
    await asyncio.sleep(0)
    assert subscription.has(topic)
    assert not subscription.was_confirmed(topic)
    proxy.accept()
    await wanted
    assert redis.publish(topic, "heard") == 1


async def test_a_server_that_says_nothing_is_left(
    monkeypatch, subscribe, recorder, proxy, redis, topic
):
    monkeypatch.setattr(subscription_module, "PING_EVERY", 0.2)
    subscription = await subscribe(topic, socket_timeout=0.5)
    made = proxy.connections
    proxy.stall()
    await until(lambda: recorder.lost)
    assert "nothing came" in recorder.lost[0]
    proxy.flow()
    await subscription.wait_until_up()
    assert proxy.connections > made
    assert redis.publish(topic, "after") >= 1


async def test_a_server_that_answers_when_it_is_about_to_be_left_is_kept(
    monkeypatch, subscribe, recorder, proxy
):
    """So does one whose answers have waited while the event loop was held up."""
    monkeypatch.setattr(subscription_module, "PING_EVERY", 0.5)
    subscription = await subscribe(socket_timeout=0.5)
    made = proxy.connections
    proxy.stall()
    answer, about_to_leave = subscription.barrier(), []

    async def look_once_more(seconds):
        about_to_leave.append(seconds)
        proxy.flow()
        await asyncio.shield(answer)

    monkeypatch.setattr(subscription_module.timers, "sleep", look_once_more)
    await until(lambda: about_to_leave)
    await subscription.barrier()
    assert recorder.lost == []
    assert proxy.connections == made


async def test_a_quiet_connection_is_kept(monkeypatch, subscribe, recorder, proxy):
    monkeypatch.setattr(subscription_module, "PING_EVERY", 0.05)
    seen = []
    subscription = await subscribe(socket_timeout=5)
    made = proxy.connections
    proxy.on_request = seen.append
    await until(lambda: sum(b"PING" in data for data in seen) >= 3)
    assert subscription.up
    assert proxy.connections == made
    assert recorder.lost == []


async def test_the_gap_before_another_event_loop_took_over_is_told(subscribe, recorder, topic):
    former = await subscribe(topic)
    await subscribe(topic, former=former)
    assert recorder.lost == recorder.restored == ["the event loop that received has ended"]


async def test_there_was_no_gap_if_nothing_was_wanted(subscribe, recorder, redis, own):
    former = await subscribe()
    redis.publish(own, "last")
    assert await former.wind_down()
    assert recorder.published_to == [(own, b"last")]
    assert not former.is_ready()
    assert redis.publish(own, "unheard") == 0
    await subscribe(former=former)
    assert (recorder.lost, recorder.restored) == ([], [])


async def test_what_was_wound_down_can_be_wanted_again(subscribe, recorder, redis, own):
    former = await subscribe()
    await former.wind_down()
    await former.be_ready()
    assert former.is_ready()
    assert redis.publish(own, "heard") == 1
    await subscribe(former=former)
    assert len(recorder.lost) == 1, "since it was wanted"


async def test_a_subscription_does_not_wind_down_while_the_server_is_silent(
    monkeypatch, subscribe, proxy, redis, own
):
    monkeypatch.setattr(subscriber_module, "_LEAVING", 0.1)
    subscription = await subscribe()
    proxy.stall()
    assert not await subscription.wind_down()
    proxy.flow()
    async with asyncio.timeout(10):
        await subscription.be_ready()
    assert subscription.is_ready()
    assert redis.publish(own, "heard") == 1


async def test_a_topic_that_is_refused_fails_its_caller_only(
    subscribe, recorder, redis, prefix, topic, base, own
):
    redis.execute_command(
        "ACL", "SETUSER", prefix, "on", ">secret", "+@all", "resetchannels", f"&{base}:process:*"
    )
    try:
        subscription = await subscribe(username=prefix, password="secret")
        with pytest.raises(BrokerError, match="refused a subscription"):
            await subscription.subscribe(topic)
        assert not subscription.has(topic)
        assert subscription.up
        assert redis.publish(own, "heard") == 1
    finally:
        redis.execute_command("ACL", "DELUSER", prefix)


async def test_stopping_fails_callers_that_wait(subscribe, proxy, topic):
    subscription = await subscribe()
    proxy.stall()
    waiting = asyncio.ensure_future(subscription.subscribe(topic))
    await asyncio.sleep(0)
    await subscription.stop()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await waiting
    proxy.flow()
    await until(lambda: proxy.open == 0)


async def test_a_subscription_that_was_never_started_can_be_given_up(server, recorder, own, topic):
    subscription = Subscription(server, 0, PLAIN, recorder, own)
    waiting = subscription.subscribe(topic)
    subscription.abandon()
    assert not waiting.done()
    await subscription.stop()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await waiting


async def test_nothing_waits_for_a_connection_that_works(subscribe, proxy):
    subscription = await subscribe()
    proxy.stall()  # the server is not asked
    async with asyncio.timeout(10):
        await subscription.wait_until_up()
    assert subscription.up
    proxy.flow()


async def test_an_abandoned_subscription_hands_on_nothing(subscribe, recorder, redis, topic):
    subscription = await subscribe(topic)
    subscription.abandon()
    redis.publish(topic, "unheard")
    await until(lambda: redis.publish(topic, "unheard") == 0)
    assert recorder.published_to == []
    assert recorder.lost == []


class Consumer(Recorder):
    """A recipient with a consumer that holds one message at a time."""

    def __init__(self):
        super().__init__()
        self.local = LocalChannels(capacity=1)
        self.mailbox = self.local.open_mailbox("c", lambda: None)

    def published(self, partition, topic, data, patience):
        entry = (self.local.expiry + now(), lambda: {"type": "x", "n": int(data)})
        return self.local.deliver_or_drop("c", entry, patience)


@pytest.fixture
async def consumer(monkeypatch):
    """It is waited for as long as the test needs."""
    monkeypatch.setattr(backpressure_module, "_STALLED", (60.0, 60.0))
    monkeypatch.setattr(backpressure_module, "_ORDINARY", 60.0)
    return Consumer()


@pytest.mark.parametrize("hurry", [False, True])
async def test_what_a_consumer_has_no_room_for_waits_unless_it_is_to_hurry(
    server, consumer, redis, own, topic, hurry
):
    subscription = Subscription(server, 0, PLAIN, consumer, own, [topic])
    subscription.start()
    await subscription.wait_until_up()
    for n in range(20):
        redis.publish(topic, n)
    await until(consumer.mailbox.qsize)
    if hurry:
        subscription.hurry()
        await until(lambda: consumer.local.statistics.sent == 20)
        assert consumer.local.statistics.dropped == {"capacity": 19}
    else:
        taken = [(await until(consumer.mailbox.take))["n"] for _ in range(20)]
        assert taken == list(range(20))
        assert consumer.local.statistics.dropped == {}
    await subscription.stop()


async def test_an_abandoned_subscription_hands_on_nothing_that_was_under_way(
    subscribe, recorder, topic
):
    subscription = await subscribe(topic)
    protocol = subscription._connection._transport.get_protocol()
    subscription.abandon()
    protocol.data_received(b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$1\r\n1\r\n")
    assert not subscription._connection.over.done()
    assert recorder.published_to == []


async def test_a_connection_that_breaks_before_topics_are_confirmed_is_made_again(
    proxy, subscribe, recorder, redis, topic
):
    def cut(data):
        if b"SUBSCRIBE" in data and proxy.connections == 1:
            proxy.cut()

    proxy.on_request = cut
    subscription = await subscribe(topic)
    assert proxy.connections == 2
    assert subscription.up
    redis.publish(topic, "heard")
    await until(lambda: recorder.published_to)
    assert recorder.lost == recorder.restored == [], "nothing was confirmed before"


async def test_a_server_that_gets_nothing_of_what_is_sent_is_left(recorder, subscribe_with_probes):
    _, probes = await subscribe_with_probes()
    await asyncio.sleep(0.2)
    assert len(probes) == 1, "there is one probe at a time"
    probes[0].set_result(1)
    await until(lambda: len(probes) == 2)
    assert recorder.lost == []
    probes[1].set_result(0)
    await until(lambda: recorder.restored)
    assert recorder.lost == [
        "the connection to the broker broke: what is sent goes to another server now"
    ]


async def test_a_probe_of_a_connection_that_broke_meanwhile_leaves_the_next_one_alone(
    proxy, recorder, subscribe_with_probes
):
    subscription, probes = await subscribe_with_probes()
    proxy.cut()
    await until(lambda: recorder.restored)
    made = proxy.connections
    probes[0].set_result(0)
    await until(lambda: len(probes) == 2)
    await subscription.barrier()
    assert proxy.connections == made
    assert len(recorder.lost) == 1


async def test_nothing_is_sent_to_see_whether_it_comes_once_the_own_topic_was_left(
    proxy, subscribe_with_probes
):
    subscription, probes = await subscribe_with_probes(answer=1)
    pings = []
    assert await subscription.wind_down()
    made = len(probes)
    proxy.on_request = pings.append
    await until(lambda: len(pings) >= 3)  # each time, there might have been a probe
    assert len(probes) == made


async def test_what_comes_after_a_long_silence_may_wait_for_as_long(
    subscribe, recorder, redis, topic
):
    subscription = await subscribe(topic)
    subscription._connection.heard -= 60
    redis.publish(topic, b"late")
    await until(lambda: recorder.published_to)
    assert subscription._backpressure.seconds > 1
