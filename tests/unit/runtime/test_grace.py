"""How long a handler may outlive its client. What connections make of it is in test_dispatch."""

import asyncio
from types import SimpleNamespace

import pytest

from channels import signals
from channels._runtime.grace import Grace


class Consumer(SimpleNamespace):
    pass


@pytest.fixture
def cancelled():
    """The types of the messages whose handlers were cancelled."""
    types = []

    def listen(signal, sender, message_type, **arguments):
        types.append((sender, message_type))

    signals.handler_cancelled.connect(listen)
    yield types
    signals.handler_cancelled.disconnect(listen)


def make(grace=0.0, *, sync=False, handling="chat.message"):
    consumer = Consumer(disconnect_grace=grace, scope={"type": "websocket", "path": "/ws/"})
    consumer._sync = sync
    made = Grace(consumer)
    made.handling = handling
    made.task = asyncio.current_task()
    return made


async def handler(seconds=5.0):
    await asyncio.sleep(seconds)


async def test_it_is_cancelled_with_one_line_and_one_signal(cancelled, caplog):
    grace = make()
    grace.begin()
    grace.begin()  # noticed twice
    assert grace.begun
    with pytest.raises(asyncio.CancelledError):
        await handler()
    assert grace.was_all()
    grace.end()
    assert asyncio.current_task().cancelling() == 0
    assert not grace.begun
    assert not grace.was_all()
    assert cancelled == [(Consumer, "chat.message")]
    [record] = caplog.records
    assert "Consumer at /ws/: the handler of chat.message was still running 0 s" in record.message


async def test_who_ends_in_time_is_not(cancelled):
    grace = make(0.01)
    grace.begin()
    grace.handling = None
    grace.end()
    await handler(0.05)
    assert cancelled == []


@pytest.mark.parametrize("options", [{"sync": True}, {"handling": None}])
async def test_a_thread_is_let_be_and_so_is_who_handles_nothing(cancelled, options):
    grace = make(**options)
    grace.begin()
    assert not grace.begun
    await handler(0.02)
    assert cancelled == []


async def test_somebody_else_who_cancels_too_is_not_overruled():
    grace = make()
    grace.begin()
    task = asyncio.current_task()
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    try:
        with pytest.raises(asyncio.CancelledError):
            await handler()
        with pytest.raises(asyncio.CancelledError):
            await handler()
        assert not grace.was_all()
    finally:
        grace.end()
    assert task.cancelling() == 1
    task.uncancel()
