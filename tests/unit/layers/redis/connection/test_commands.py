import asyncio

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable, Unconfirmed
from channels.layers.redis.connection import commands as commands_module
from channels.layers.redis.connection.commands import SENDER_LEASE, CommandConnection
from channels.layers.redis.connection.hosts import parse_hosts

from .....asgi import until
from .....proxy import Proxy


@pytest.fixture
def sender(base):
    return f"{base}:sender:s"


@pytest.fixture
async def connection(server, sender):
    connection = CommandConnection(server, sender)
    yield connection
    await connection.aclose()


@pytest.fixture
async def proxy(shared_broker):
    async with Proxy(shared_broker.address) as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy, prefix, sender):
    connection = CommandConnection(parse_hosts([proxy.address], prefix)[0][0], sender)
    yield connection
    await connection.aclose()


def connections_made(redis):
    return redis.info("stats")["total_connections_received"]


async def test_calls_are_answered_in_order(connection, prefix):
    answers = await asyncio.gather(*(connection.call("INCR", prefix) for _ in range(2000)))
    assert answers == list(range(1, 2001))


async def test_a_burst_needs_one_connection(connection, redis, prefix):
    before = connections_made(redis)
    await asyncio.gather(*(connection.call("INCR", prefix) for _ in range(2000)))
    assert connections_made(redis) == before + 1


async def test_what_is_called_in_one_turn_travels_together(proxied, proxy, prefix):
    await proxied.call("PING")
    seen = []
    proxy.on_request = seen.append
    await asyncio.gather(*(proxied.call("INCR", prefix) for _ in range(50)))
    assert len(seen) == 1


async def test_nothing_is_opened_before_it_is_needed(server, redis):
    before = connections_made(redis)
    connection = CommandConnection(server, "sender")
    await connection.aclose()
    assert connections_made(redis) == before


async def test_an_error_fails_its_own_call_only(connection, redis, prefix):
    redis.set(prefix, "text")
    wrong, right = connection.call("INCR", prefix), connection.call("GET", prefix)
    with pytest.raises(BrokerError, match="not an integer"):
        await wrong
    assert await right == b"text"


async def test_a_call_that_is_given_up_before_it_is_sent_is_not_sent(connection, prefix):
    first, second = connection.call("INCR", prefix), connection.call("INCR", prefix)
    first.cancel()
    assert await second == 1


async def test_a_call_that_is_given_up_while_the_broker_does_not_answer_is_not_sent(
    proxied, proxy, redis, prefix
):
    await proxied.call("PING")
    proxy.stall()
    before, given_up = proxied.call("INCR", prefix), proxied.call("INCR", prefix)
    await asyncio.sleep(0)  # these are written
    late = proxied.call("INCR", prefix)
    for call in (given_up, late):
        call.cancel()
    proxy.flow()
    assert await before == 1
    assert await proxied.call("INCR", prefix) == 3


async def test_scripts_are_loaded_when_the_server_does_not_know_them(connection, redis, base):
    redis.script_flush()
    assert await connection.run("join", [f"{base}:group:g"], ["p:p", 1000]) == []


async def test_scripts_that_append_get_rising_numbers_which_are_forgotten(
    connection, redis, base, sender
):
    keys = [f"{base}:queue:q", f"{base}:queue:q:expiry"]
    runs = [connection.append("enqueue", keys, n, 100, 9000) for n in range(5)]
    assert await asyncio.gather(*runs) == [[1, 0]] * 5
    assert redis.get(sender) == b"5"
    assert 0 < redis.pttl(sender) <= SENDER_LEASE


async def test_a_broken_connection_repeats_a_script_that_appends_under_its_number(
    proxied, proxy, redis, base
):
    keys = [f"{base}:queue:q", f"{base}:queue:q:expiry"]
    await proxied.append("enqueue", keys, "first", 100, 9000)
    cuts = []

    def cut(reply):
        if len(cuts) < 3:
            cuts.append(reply)
            proxy.cut()

    proxy.on_reply = cut
    await proxied.append("enqueue", keys, "second", 100, 9000)
    assert len(cuts) == 3
    assert [fields for _, fields in redis.xrange(keys[0])] == [{b"m": b"first"}, {b"m": b"second"}]


async def test_a_repeat_keeps_its_number_when_the_server_has_forgotten_the_scripts(
    proxied, proxy, redis, base
):
    """As one does that was started again, with all its keys."""
    keys = [f"{base}:queue:q", f"{base}:queue:q:expiry"]
    await proxied.append("enqueue", keys, "first", 100, 9000)

    def cut(reply):
        proxy.on_reply = None
        proxy.cut()
        redis.script_flush()

    proxy.on_reply = cut
    second, third = (
        proxied.append("enqueue", keys, name, 100, 9000) for name in ("second", "third")
    )
    await asyncio.gather(second, third)
    await proxied.append("enqueue", keys, "fourth", 100, 9000)
    names = [fields[b"m"] for _, fields in redis.xrange(keys[0])]
    assert names == [b"first", b"second", b"third", b"fourth"]


async def test_connections_that_break_before_their_first_answer_are_made_again(
    proxied, proxy, prefix
):
    cuts = []

    def cut(request):
        if b"INCR" in request and len(cuts) < 3:
            cuts.append(request)
            proxy.cut()

    proxy.on_request = cut
    assert await proxied.call("INCR", prefix) == 1
    assert len(cuts) == 3


async def test_a_call_that_may_not_be_repeated_fails_as_unconfirmed(proxied, proxy, redis, prefix):
    await proxied.call("PING")
    proxy.on_reply = lambda reply: proxy.cut()
    once = proxied.call("INCR", prefix, repeat=False)
    with pytest.raises(Unconfirmed):
        await once
    proxy.on_reply = None
    assert await proxied.call("GET", prefix) == b"1"


async def test_too_many_waiting_calls_are_refused_at_once(monkeypatch, proxied, proxy):
    monkeypatch.setattr(commands_module, "MAX_WAITING", 3)
    proxy.stall()
    calls = [proxied.call("PING") for _ in range(3)]
    with pytest.raises(BrokerUnavailable, match="behind by 3 commands"):
        await proxied.call("PING")
    proxy.flow()
    assert await asyncio.gather(*calls) == [b"PONG"] * 3


async def test_a_closed_connection_refuses_calls(server):
    connection = CommandConnection(server, "sender")
    assert await connection.call("PING") == b"PONG"
    await connection.aclose()
    await connection.aclose()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await connection.call("PING")


async def test_closing_finishes_what_waits(server, redis, prefix):
    connection = CommandConnection(server, "sender")
    calls = [connection.call("INCR", prefix) for _ in range(1000)]
    await connection.aclose()
    assert [call.result() for call in calls] == list(range(1, 1001))


async def test_closing_ends_calls_that_get_no_answer(proxied, proxy):
    await proxied.call("PING")
    proxy.stall()
    call = proxied.call("PING")
    async with asyncio.timeout(4):
        await proxied.aclose()
        with pytest.raises(BrokerUnavailable):
            await call


def test_a_loop_that_ends_takes_its_connection_along(server, shared_broker):
    """Without a warning; and what is called as it ends starts nothing new."""

    async def main():
        connection = CommandConnection(server, "sender")
        await connection.call("PING")

        async def clean_up():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                with pytest.raises(BrokerUnavailable):
                    await connection.call("PING")

        cleaning = asyncio.create_task(clean_up())
        await asyncio.sleep(0)
        return cleaning

    assert asyncio.run(main()).done()


async def test_a_connection_whose_task_was_cancelled_goes_on_later(monkeypatch, connection):
    monkeypatch.setattr(commands_module, "_LAST_SECONDS", 0.1)
    before = asyncio.all_tasks()
    await connection.call("PING")
    (task,) = asyncio.all_tasks() - before
    task.cancel()
    await until(task.done)
    with pytest.raises(BrokerUnavailable):
        await connection.call("PING")
    await asyncio.sleep(0.11)
    assert await connection.call("PING") == b"PONG"


# Rest


async def test_after_rest_nothing_is_open_and_the_next_call_connects(proxied, proxy):
    before = asyncio.all_tasks()
    await proxied.rest()
    for count in range(1, 4):
        assert await proxied.call("PING") == b"PONG"
        await asyncio.gather(proxied.rest(), proxied.rest())
        await until(lambda: not proxy.open)
        await until(lambda: asyncio.all_tasks() == before)
        assert proxy.connections == count


async def test_rest_waits_for_no_calls_but_those_that_were_sent(proxied, proxy, prefix):
    """However busy the connection is, rest is soon over, and no call fails or gets lost."""

    async def count_on(name):
        for n in range(1, 11):  # each may need a connection of its own, which takes a while
            assert await proxied.call("INCR", f"{prefix}:{name}") == n

    counting = [asyncio.create_task(count_on(name)) for name in range(20)]
    async with asyncio.timeout(60):
        while not all(task.done() for task in counting):
            await proxied.rest()
            await asyncio.sleep(0)
        await asyncio.gather(*counting)
    assert proxy.connections > 1


async def test_rest_leaves_calls_to_a_silent_server_under_way(proxied, proxy, monkeypatch):
    monkeypatch.setattr(commands_module, "_CLOSING_PATIENCE", 0.1)
    await proxied.call("PING")
    sent = []

    def stall(data):  # the server gets it, and its answer is not passed on
        sent.append(data)
        proxy.stall()

    proxy.on_request = stall
    first = proxied.call("PING")
    await until(lambda: sent)
    proxy.on_request = None
    second = proxied.call("PING")
    await proxied.rest()
    assert [call.done() for call in (first, second)] == [False, False]
    proxy.flow()
    assert await asyncio.gather(first, second) == [b"PONG"] * 2


async def test_a_connection_that_is_being_made_comes_to_rest_when_its_calls_are_done(
    proxied, proxy
):
    call = proxied.call("PING")
    await asyncio.gather(proxied.rest(), call)
    await until(lambda: not proxy.open)
    assert await proxied.call("PING") == b"PONG"


async def test_a_connection_that_is_abandoned_is_closed_at_once(connection, redis):
    number = await connection.call("CLIENT", "ID")
    assert str(number) in {client["id"] for client in redis.client_list()}
    connection.abandon()
    await until(lambda: str(number) not in {client["id"] for client in redis.client_list()})
    assert connection._task is None or await asyncio.wait_for(connection._task, 5) is None
