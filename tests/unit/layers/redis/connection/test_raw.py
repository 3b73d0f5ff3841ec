import asyncio

import pytest
from redis import exceptions as redis_errors

from channels.layers.redis.connection import raw as raw_module
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.raw import RawConnection

from .....asgi import until
from .....proxy import Proxy


@pytest.fixture(params=["hiredis", "redis-py"], autouse=True)
def parser(request, monkeypatch):
    if request.param == "redis-py":
        monkeypatch.setattr(raw_module, "Reader", None)
        monkeypatch.setattr(raw_module, "_pack", None)
    else:
        assert raw_module.Reader is not None


@pytest.fixture
async def proxy(shared_broker):
    async with Proxy(shared_broker.address) as proxy:
        yield proxy


@pytest.fixture
async def connect(proxy):
    opened = []

    async def connect(receive):
        server = parse_hosts([proxy.address], "x")[0][0]
        connection = RawConnection(await server.connect(), receive)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        await connection.aclose()


async def test_replies_come_in_the_order_of_the_commands(connect, prefix):
    got = []
    connection = await connect(got.extend)
    connection.send([("SET", prefix, "text"), ("GET", prefix), ("ECHO", b"\x00\xff")])
    connection.send(
        [("GET", f"{prefix}-none"), ("STRLEN", prefix), ("LRANGE", f"{prefix}-none", 0, -1)]
    )
    await until(lambda: len(got) == 6)
    assert got == [b"OK", b"text", b"\x00\xff", None, 4, []]


async def test_a_reply_of_many_pieces_is_handed_on_when_it_is_whole(connect):
    got = []
    connection = await connect(got.extend)
    large = b"x" * 5_000_000
    connection.send([("ECHO", large), ("ECHO", "small")])
    await until(lambda: len(got) == 2)
    assert got == [large, b"small"]


async def test_errors_are_replies(connect, prefix):
    got = []
    connection = await connect(got.extend)
    connection.send([("EVALSHA", "0" * 40, 0), ("LPUSH", prefix, 1), ("GET", prefix), ("PING",)])
    await until(lambda: len(got) == 4)
    assert isinstance(got[0], redis_errors.NoScriptError)
    assert isinstance(got[2], redis_errors.ResponseError)
    assert got[1::2] == [1, b"PONG"]
    assert not connection.over.done()


async def test_an_exception_of_the_receiver_ends_the_connection(connect):
    got = []

    def receive(replies):
        got.extend(replies)
        raise ValueError("no more")

    connection = await connect(receive)
    connection.send([("PING",)])
    with pytest.raises(ValueError, match="no more"):
        await connection.over
    connection.send([("PING",)])
    await asyncio.sleep(0.05)
    assert got == [b"PONG"]


@pytest.mark.parametrize("reset", [True, False])
async def test_over_has_the_error_of_a_connection_that_breaks(connect, proxy, reset):
    connection = await connect(lambda replies: None)
    await until(lambda: proxy.open == 1)
    proxy.cut(reset=reset)
    with pytest.raises((OSError, redis_errors.ConnectionError)):
        await connection.over


async def test_nonsense_from_the_server_ends_the_connection(connect, proxy):
    connection = await connect(list)
    assert proxy.say(b"?nonsense\r\n") == 1
    with pytest.raises(redis_errors.RedisError):
        await connection.over


async def test_a_command_that_cannot_be_encoded_ends_the_connection(connect):
    connection = await connect(lambda replies: None)
    connection.send([("ECHO", object())])
    with pytest.raises((TypeError, redis_errors.DataError)):
        await connection.over


async def test_a_connection_is_ended_without_an_error_and_only_once(connect):
    got = []
    connection = await connect(got.extend)
    connection.end()
    connection.end(ValueError("too late"))
    assert await connection.over is None
    connection.send([("PING",)])
    await asyncio.sleep(0.05)
    assert got == []


async def test_silence_grows_until_something_comes(connect, proxy):
    got = []
    connection = await connect(got.extend)
    proxy.stall()
    connection.send([("PING",)])
    await until(lambda: connection.silence > 0.1)
    assert got == []
    proxy.flow()
    await until(lambda: got)
    assert connection.silence < 0.1


async def test_closing_disconnects(connect, proxy):
    connection = await connect(lambda replies: None)
    await until(lambda: proxy.open == 1)
    await connection.aclose()
    await connection.aclose()
    await until(lambda: proxy.open == 0)
    assert connection.over.cancelled()


async def test_what_comes_during_a_pause_is_handed_on_afterwards(connect):
    got = []

    def receive(replies):
        for reply in replies:
            got.append(reply)
            if len(got) in (1, 3):
                connection.pause()
                return

    connection = await connect(receive)
    connection.send([("ECHO", n) for n in range(4)])
    connection.send([("ECHO", "large" * 100_000)])
    await until(lambda: connection.paused)
    assert got == [b"0"]
    assert connection.silence == 0.0, "it is not the server that is silent"
    connection.resume()
    await until(lambda: len(got) == 3)
    assert connection.paused
    connection.resume()
    await until(lambda: len(got) == 5)
    assert got == [b"0", b"1", b"2", b"3", b"large" * 100_000]
    assert not connection.paused


async def test_a_connection_that_ends_during_a_pause_hands_on_nothing_more(connect):
    got = []

    def receive(replies):
        got.append(next(iter(replies)))
        connection.pause()

    connection = await connect(receive)
    connection.send([("ECHO", n) for n in range(2)])
    await until(lambda: connection.paused)
    connection.end()
    connection.resume()
    assert got == [b"0"]
    assert not connection.paused
    connection.resume()
    assert got == [b"0"], "there was no pause to end"


async def test_what_comes_after_the_end_is_not_handed_on(connect):
    got = []
    connection = await connect(got.extend)
    connection.end()
    connection.received((b"late",))
    assert got == []
