"""One connection for all calls of an event loop, made when one of them needs it."""

import asyncio
from functools import partial

import pytest
from aiormq import exceptions as amqp

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.rabbitmq import line as module
from channels.layers.rabbitmq.line import Line

from ....asgi import until


class Prepared:
    """Prepares new connections, or fails as often as it is told to."""

    def __init__(self):
        self.links = []
        self.errors = []

    async def __call__(self, link):
        self.links.append(link)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def prepared():
    return Prepared()


@pytest.fixture
async def line(make_nodes, proxy, prepared):
    nodes = make_nodes(proxy.url)
    line = Line(nodes.name, "testing", partial(nodes.connect, "testing", prepared))
    yield line
    await line.aclose()


async def test_calls_share_a_connection(line, proxy, prepared):
    one, two = await asyncio.gather(line.get(), line.get())
    assert one is two is await line.get() is prepared.links[0]
    assert one.is_open
    assert proxy.connections == 1


async def test_a_broken_connection_is_made_again_when_it_is_needed(line, proxy, prepared):
    first = await line.get()
    proxy.cut()
    await until(lambda: not first.is_open)
    assert proxy.connections == 1
    second = await line.get()
    assert second.is_open
    assert prepared.links == [first, second]


async def test_a_connection_that_cannot_be_prepared_is_closed_and_another_one_made(
    line, proxy, prepared
):
    prepared.errors.append(ConnectionError("for a moment"))
    link = await line.get()
    assert prepared.links == [prepared.links[0], link]
    assert not prepared.links[0].is_open
    await until(lambda: proxy.open == 1)


async def test_a_refusal_is_told_to_callers_and_later_ones_try_again(line, prepared):
    prepared.errors.append(amqp.ChannelAccessRefused("no"))
    told = await asyncio.gather(line.get(), line.get(), return_exceptions=True)
    for error in told:
        assert isinstance(error, BrokerError)
        assert "permissions do not allow it" in str(error)
    assert (await line.get()).is_open


async def test_nobody_connects_for_callers_that_have_gone(line, proxy):
    proxy.refuse()
    caller = asyncio.create_task(line.get())
    await until(lambda: proxy.connections)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await until(line._task.done)
    proxy.accept()
    connections = proxy.connections
    assert (await line.get()).is_open
    assert proxy.connections == connections + 1


async def test_callers_are_told_that_the_line_was_closed(line, proxy):
    proxy.refuse()
    caller = asyncio.create_task(line.get())
    await until(lambda: proxy.connections)
    await line.aclose()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await caller


async def test_a_line_is_closed_before_it_was_used_and_afterwards(line, proxy):
    await line.aclose()
    assert proxy.connections == 0
    link = await line.get()
    await line.aclose()
    assert not link.is_open
    assert line.link is None
    await until(lambda: not proxy.open)


async def test_an_abandoned_line_forgets_its_connection(line):
    link = await line.get()
    line.abandon()
    assert line.link is None
    await link.aclose()


async def test_a_connection_that_breaks_again_and_again_is_made_after_pauses(
    line, proxy, monkeypatch
):
    pauses = []
    monkeypatch.setattr(module, "backoff", lambda failures: pauses.append(failures) or 0.0)

    async def break_it():
        link = await line.get()
        proxy.cut()
        await until(lambda: not link.is_open)

    for _ in range(3):
        await break_it()
    monkeypatch.setattr(module, "_SHORT", 0.0)
    await break_it()
    monkeypatch.undo()
    monkeypatch.setattr(module, "backoff", lambda failures: pauses.append(failures) or 0.0)
    await line.get()
    assert pauses == [1, 2, 1]
