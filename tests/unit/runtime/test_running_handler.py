"""How long a handler may outlive its client. What connections make of it is in test_connection."""

import asyncio

import pytest

from channels import signals
from channels._runtime.running_handler import RunningHandler
from channels.consumer import AsyncConsumer, SyncConsumer


@pytest.fixture
def cancelled():
    """The types of the messages whose handlers were cancelled."""
    types = []

    def listen(signal, sender, message_type, **arguments):
        types.append((sender, message_type))

    signals.handler_cancelled.connect(listen)
    yield types
    signals.handler_cancelled.disconnect(listen)


def make(grace=0.0, *, sync=False, message_type="chat.message"):
    consumer = (SyncConsumer if sync else AsyncConsumer)()
    consumer.disconnect_grace = grace
    consumer.scope = {"type": "websocket", "path": "/ws/"}
    made = RunningHandler(consumer)
    made.message_type = message_type
    made.task = asyncio.current_task()
    return made


async def handle(seconds=5.0):
    await asyncio.sleep(seconds)


async def test_a_handler_without_its_client_is_cancelled_with_one_line_and_one_signal(
    cancelled, caplog
):
    handler = make()
    handler.limit()
    handler.limit()  # noticed twice
    assert handler.limited
    with pytest.raises(asyncio.CancelledError):
        await handle()
    assert handler.was_cancelled_here()
    handler.ended()
    assert asyncio.current_task().cancelling() == 0
    assert not handler.limited
    assert not handler.was_cancelled_here()
    assert cancelled == [(AsyncConsumer, "chat.message")]
    [record] = caplog.records
    assert (
        "AsyncConsumer at /ws/: the handler of chat.message was still running 0 s" in record.message
    )


async def test_a_handler_that_ends_in_time_is_not_cancelled(cancelled):
    handler = make(0.01)
    handler.limit()
    handler.message_type = None
    handler.ended()
    await handle(0.05)
    assert cancelled == []


@pytest.mark.parametrize("options", [{"sync": True}, {"message_type": None}])
async def test_nothing_is_cancelled_where_a_thread_or_no_handler_runs(cancelled, options):
    handler = make(**options)
    handler.limit()
    assert not handler.limited
    handler.cancel()
    await handle(0.02)
    assert not handler.was_cancelled_here()
    assert cancelled == []


async def test_a_handler_can_be_cancelled_at_once_and_without_a_line(cancelled, caplog):
    handler = make(60.0)
    handler.cancel()
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handle()
    assert handler.was_cancelled_here()
    handler.ended()
    assert asyncio.current_task().cancelling() == 0
    assert cancelled == caplog.records == []


async def test_a_cancellation_by_another_is_not_taken_for_its_own():
    handler = make()
    handler.limit()
    task = asyncio.current_task()
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    try:
        with pytest.raises(asyncio.CancelledError):
            await handle()
        with pytest.raises(asyncio.CancelledError):
            await handle()
        assert not handler.was_cancelled_here()
    finally:
        handler.ended()
    assert task.cancelling() == 1
    task.uncancel()


async def test_a_handler_that_was_cancelled_at_once_is_not_cancelled_again_when_its_time_is_over(
    cancelled, caplog
):
    handler = make(0.01)
    handler.limit()
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handle()
    await handle(0.05)  # it cleans up for longer than it has
    handler.ended()
    assert asyncio.current_task().cancelling() == 0
    assert cancelled == caplog.records == []


async def test_a_sync_handler_that_ends_in_the_turn_in_which_its_client_leaves_is_not_skipped():
    handler = make(sync=True)
    handler.limit()
    handler.message_type = "chat.next"
    await asyncio.sleep(0)
    assert not handler.skipped
