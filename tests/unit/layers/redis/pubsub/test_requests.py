import asyncio
import contextlib

import pytest
from redis import exceptions as redis_errors

from channels.exceptions import BrokerError
from channels.layers.redis.connection.raw import RawConnection
from channels.layers.redis.pubsub.requests import PLAIN, SHARDED, Requests

from .....asgi import until


@pytest.fixture
def topic(base):
    return f"{base}:group:g".encode()


@pytest.fixture
def connect(server):
    """Connect requests to the server; what is published is collected."""

    @contextlib.asynccontextmanager
    async def connect(requests, published=()):
        def receive(replies):
            for reply in replies:
                if isinstance(reply, list) and reply[0] in (PLAIN.message, SHARDED.message):
                    published.append(reply[2])
                else:
                    requests.answered(reply)

        connection = RawConnection(await server.connect(), receive)
        requests.connected(connection)
        yield connection
        requests.disconnected()
        await connection.aclose()

    return connect


@pytest.mark.parametrize("commands", [PLAIN, SHARDED])
async def test_a_confirmed_topic_is_heard_until_it_is_left(connect, redis, topic, commands):
    requests, published = Requests(commands, []), []
    async with connect(requests, published):
        assert not requests.has(topic)
        await requests.subscribe(topic)
        assert requests.was_confirmed(topic)
        assert requests.subscribe(topic) is None, "there is nothing to wait for"
        redis.execute_command(commands.publish, topic, "heard")
        await requests.barrier()
        assert published == [b"heard"]
        requests.unsubscribe(topic)
        await requests.barrier()
        assert redis.execute_command(commands.publish, topic, "unheard") == 0


async def test_topics_are_subscribed_to_over_each_connection(connect, redis, topic):
    requests = Requests(PLAIN, [topic])
    wanted = requests.subscribe(topic)
    assert not wanted.done()
    for _ in range(2):
        async with connect(requests):
            await wanted
            await requests.barrier()
            assert redis.publish(topic, "heard") == 1
        assert requests.was_confirmed(topic), "over the one before"
        await until(lambda: redis.publish(topic, "unheard") == 0)


async def test_a_barrier_is_done_without_a_connection_and_when_that_ends(connect, topic):
    requests = Requests(PLAIN, [])
    assert requests.barrier().done()
    async with connect(requests):
        barrier = requests.barrier()
        assert requests.barrier() is barrier, "one for each turn of the event loop"
        assert not barrier.done()
    await barrier


async def test_commands_of_one_turn_are_sent_together(topic):
    class Connection:
        sent = []
        send = sent.append

    requests = Requests(PLAIN, [topic])
    requests.connected(Connection())
    requests.subscribe(b"other")
    requests.unsubscribe(topic)
    requests.unsubscribe(b"never subscribed to")
    await asyncio.sleep(0)
    assert Connection.sent == [
        [("SUBSCRIBE", topic), ("SUBSCRIBE", b"other"), ("UNSUBSCRIBE", topic)]
    ]


async def test_a_topic_that_the_server_refuses_fails_alone(connect, topic, caplog):
    requests = Requests(PLAIN, [])
    async with connect(requests):
        refused = requests.subscribe(topic)
        requests.answered(redis_errors.NoPermissionError("no permissions to access a channel"))
        with pytest.raises(BrokerError, match="refused a subscription"):
            await refused
        assert not requests.has(topic)
    assert f"refused the subscription to {topic.decode()}" in caplog.text


async def test_a_refusal_to_unsubscribe_disturbs_nothing(connect, redis, topic, caplog):
    requests = Requests(PLAIN, [topic])
    async with connect(requests):
        await requests.subscribe(topic)
        requests.unsubscribe(topic)
        requests.answered(redis_errors.NoPermissionError("this user has no permissions"))
        assert not requests.has(topic)
    wanted = requests.subscribe(topic)
    async with connect(requests):
        await wanted
        assert redis.publish(topic, "heard") == 1
    assert not caplog.records


@pytest.mark.parametrize(
    "answer",
    [
        redis_errors.MovedError("1 127.0.0.1:7000"),
        redis_errors.ClusterDownError("down"),
        [b"subscribe", b"another topic", 1],
        [b"sunsubscribe", b"topic", 0],
        b"PONG",
    ],
)
async def test_another_connection_is_needed_after_an_answer_that_does_not_fit(connect, answer):
    requests = Requests(SHARDED, [])
    async with connect(requests):
        wanted = requests.subscribe(b"topic")
        with pytest.raises((redis_errors.RedisError, ConnectionError)):
            requests.answered(answer)
        assert not wanted.done(), "it is subscribed to over the next one"


async def test_an_answer_that_nothing_was_asked_for_is_an_error():
    with pytest.raises(ConnectionError, match="unasked"):
        Requests(PLAIN, []).answered(b"PONG")


async def test_failing_concerns_only_topics_that_are_not_confirmed(connect, topic):
    requests = Requests(PLAIN, [topic])
    async with connect(requests):
        await requests.subscribe(topic)
    wanted = requests.subscribe(b"other")
    requests.fail(BrokerError("no"))
    with pytest.raises(BrokerError, match="no"):
        await wanted
    assert requests.was_confirmed(topic)
    assert not requests.was_confirmed(b"other")
    assert requests.subscribe(b"other") is not wanted, "which tries again"
