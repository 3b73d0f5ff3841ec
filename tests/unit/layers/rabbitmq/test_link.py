"""Calls over a link: their turn, their deadline, callers that leave, and how links end."""

import asyncio

import pytest
from aiormq import exceptions as amqp

from ....asgi import until

SILENT = "RabbitMQ has not answered for 0.2 seconds"


@pytest.fixture
async def connect(make_nodes, rabbitmq):
    """Makes links, and closes them."""
    made = []

    async def connect(url=rabbitmq.url, response_timeout=10.0):
        made.append(await make_nodes(url, response_timeout=response_timeout).connect("testing"))
        return made[-1]

    yield connect
    await asyncio.gather(*(link.aclose() for link in made))


@pytest.fixture
async def link(connect):
    return await connect()


@pytest.fixture
async def impatient(connect, proxy):
    """A link that waits for an answer for a fifth of a second, once it is there."""
    link = await connect(proxy.url, 10.0)
    link._patience = 0.2
    return link


def returning(call):
    """A call that is no business of RabbitMQ's."""
    return lambda _: call


# Calls


async def test_a_call_returns_or_raises_what_it_would_otherwise(link):
    async def answer():
        return 5

    async def fail():
        raise OSError("broken")

    assert await link.ask(returning(answer())) == 5
    with pytest.raises(OSError, match="broken"):
        await link.ask(returning(fail()))
    assert link.is_open


@pytest.mark.parametrize("error", [None, OSError("broken")])
async def test_a_call_goes_on_when_its_caller_is_cancelled(link, error):
    answer = asyncio.get_running_loop().create_future()
    caller = asyncio.create_task(link.ask(returning(answer)))
    await until(lambda: link._answers)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not answer.done()
    if error is None:
        answer.set_result(5)
    else:
        answer.set_exception(error)
    await asyncio.sleep(0)
    # asyncio would complain otherwise of an error that nobody has looked at.
    assert not answer._log_traceback
    assert link.is_open


async def test_a_call_that_is_cancelled_has_lost_its_connection(link):
    call = asyncio.get_running_loop().create_future()
    call.cancel()
    with pytest.raises(ConnectionError, match="was closed"):
        await link.ask(returning(call))


async def test_calls_have_their_turn_and_each_its_time(impatient):
    order = []

    async def call(number):
        await asyncio.sleep(0.05)
        order.append(number)

    await asyncio.gather(*(impatient.ask(returning(call(number))) for number in range(8)))
    assert order == list(range(8))
    assert impatient.is_open


# Silence


async def test_a_link_without_an_answer_is_given_up_with_all_its_calls(impatient, proxy):
    branch = await impatient.branch()
    proxy.stall()
    calls = [
        impatient.ask(lambda channel: channel.basic_qos(prefetch_count=1)),
        impatient.ask(lambda channel: channel.basic_qos(prefetch_count=2)),
        impatient.branch(),
        branch.ask(lambda channel: channel.basic_qos(prefetch_count=3)),
    ]
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, TimeoutError)
        assert str(error) == SILENT
    assert not impatient.is_open
    assert not branch.is_open
    assert isinstance(impatient.reason(), TimeoutError)
    with pytest.raises(ConnectionError, match="was closed"):
        await impatient.ask(lambda channel: channel.basic_qos(prefetch_count=1))
    proxy.flow()
    await until(lambda: not proxy.open)


async def test_a_branch_without_an_answer_leaves_the_link_open(impatient):
    never = asyncio.get_running_loop().create_future()
    branch = await impatient.branch()
    with pytest.raises(TimeoutError, match=SILENT):
        await branch.ask(returning(never))
    assert not branch.is_open
    with pytest.raises(TimeoutError, match=SILENT):
        await impatient.apart(returning(asyncio.get_running_loop().create_future()))
    assert impatient.is_open
    await impatient.ask(lambda channel: channel.basic_qos(prefetch_count=1))


async def test_a_channel_that_is_not_opened_gives_the_link_up(impatient, proxy):
    proxy.stall()
    with pytest.raises(TimeoutError, match=SILENT):
        await impatient.branch()
    assert not impatient.is_open


# The end


async def test_a_refusal_on_a_channel_apart_leaves_the_link_open(link, admin, prefix):
    with pytest.raises(amqp.ChannelNotFoundEntity):
        await link.apart(lambda channel: channel.queue_declare(prefix, passive=True))
    declared = await link.apart(lambda channel: channel.queue_declare(prefix, exclusive=True))
    assert declared.queue == prefix
    assert link.is_open
    await link.aclose()
    assert not link.is_open
    with pytest.raises(amqp.ChannelNotFoundEntity):
        await admin.queue_declare(prefix, passive=True)


async def test_a_link_says_what_has_ended_it(link, connect):
    other = await connect()
    await other.aclose()
    assert isinstance(other.reason(), Exception)
    with pytest.raises(amqp.ChannelNotFoundEntity):
        await link.ask(lambda channel: channel.queue_declare("nowhere", passive=True))
    await until(link.over.done)
    assert isinstance(link.reason(), amqp.ChannelNotFoundEntity)


async def test_a_branch_ends_alone_or_with_its_link(link):
    one, two = await link.branch(), await link.branch()
    await one.aclose()
    assert not one.is_open
    assert two.is_open
    await link.aclose()
    await until(two.over.done)
    assert not two.is_open


@pytest.mark.parametrize(
    ("version", "expected"), [("4.0.5", 4), (b"4.0.5", 0), ("+4", 0), (None, 0)]
)
async def test_the_version_is_what_the_broker_says(link, monkeypatch, version, expected):
    assert link.version >= 3
    monkeypatch.setitem(link._connection.server_properties, "version", version)
    assert link.version == expected
