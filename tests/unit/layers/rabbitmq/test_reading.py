"""Callers that wait for messages of named channels: in line, cancelled, cut off, closed."""

import asyncio

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import named_reader
from channels.layers.rabbitmq import reading
from channels.layers.rabbitmq.names import named_queue

from ....asgi import until

JOB = {"type": "job"}


def reader_of(layer, channel="jobs"):
    return layer.transport.named._reading.peek().readers[channel]


def wait_for(layer, channel="jobs"):
    return asyncio.create_task(layer.receive(channel))


async def soon(awaitable):
    async with asyncio.timeout(20):
        return await awaitable


async def consuming(layer):
    """Wait until RabbitMQ is to send the next message when it comes."""
    await until(layer.transport.named.is_awaited)
    reader = reader_of(layer)
    await until(lambda: reader._link is not None and reader._link.channel.consumers)


async def test_callers_are_served_in_line(make):
    layer = make()
    first, second = wait_for(layer), wait_for(layer)
    await consuming(layer)
    for n in range(2):
        await layer.send("jobs", {"type": "job", "n": n})
    assert await soon(first) == {"type": "job", "n": 0}
    assert await soon(second) == {"type": "job", "n": 1}


async def test_what_comes_as_its_caller_is_cancelled_is_the_next_ones(make):
    layer = make()
    for n in range(10):
        await layer.send("jobs", {"type": "job", "n": n})
    first = wait_for(layer)
    await until(lambda: layer.transport.named._reading.peek() is not None)
    reader = reader_of(layer)
    kept, keep = [], reader.keep
    reader.keep = lambda held: (kept.append(held), keep(held))
    serve = reader.serve

    def serve_and_cancel():
        serve()
        first.cancel()

    reader.serve = serve_and_cancel
    await asyncio.wait((first,))
    reader.serve = serve
    assert first.cancelled()
    assert len(kept) == 1
    assert [(await soon(layer.receive("jobs")))["n"] for _ in range(10)] == list(range(10))


async def test_what_was_acknowledged_for_a_caller_that_is_cancelled_is_the_next_ones(
    make, monkeypatch
):
    layer, acknowledge = make(), reading._acknowledge
    await layer.send("jobs", JOB)
    first = wait_for(layer)

    async def acknowledge_and_cancel(held):
        await acknowledge(held)
        first.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(reading, "_acknowledge", acknowledge_and_cancel)
    await asyncio.wait((first,))
    assert first.cancelled()
    assert await soon(layer.receive("jobs")) == JOB


async def test_what_was_acknowledged_for_nobody_is_put_back_when_the_layer_closes(
    make, monkeypatch
):
    layer, other, acknowledge = make(), make(), reading._acknowledge
    await layer.send("jobs", JOB)
    first = wait_for(layer)

    async def acknowledge_and_cancel(held):
        await acknowledge(held)
        first.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(reading, "_acknowledge", acknowledge_and_cancel)
    await asyncio.wait((first,))
    monkeypatch.undo()
    await until(lambda: reader_of(layer)._held)
    await layer.stop_receiving("jobs")
    assert await soon(other.receive("jobs")) == JOB


async def test_what_is_acknowledged_after_the_end_is_put_back(make, monkeypatch):
    layer, other, acknowledge = make(), make(), reading._acknowledge
    going_on = asyncio.Event()
    await layer.send("jobs", JOB)
    first = wait_for(layer)

    async def acknowledge_late(held):
        first.cancel()
        await going_on.wait()
        await acknowledge(held)

    monkeypatch.setattr(reading, "_acknowledge", acknowledge_late)
    await asyncio.wait((first,))
    reader = reader_of(layer)
    await layer.stop_receiving("jobs")
    monkeypatch.undo()
    assert not reader._held
    going_on.set()
    assert await soon(other.receive("jobs")) == JOB


async def test_an_acknowledgement_that_fails_is_counted_and_the_next_is_received(make, monkeypatch):
    layer = make()

    async def fail(held):
        monkeypatch.undo()
        raise ConnectionError("as if")

    for n in range(2):
        await layer.send("jobs", {"type": "job", "n": n})
    monkeypatch.setattr(reading, "_acknowledge", fail)
    assert await soon(layer.receive("jobs")) == {"type": "job", "n": 1}
    assert layer.statistics.dropped == {"unconfirmed": 1}


async def test_an_acknowledgement_that_fails_for_a_caller_that_is_cancelled_is_counted(
    make, monkeypatch
):
    layer = make()
    await layer.send("jobs", JOB)
    first = wait_for(layer)

    async def cancel_and_fail(held):
        first.cancel()
        await asyncio.sleep(0)
        raise ConnectionError("as if")

    monkeypatch.setattr(reading, "_acknowledge", cancel_and_fail)
    await asyncio.wait((first,))
    await until(lambda: layer.statistics.dropped == {"unconfirmed": 1})


async def test_what_was_sent_over_a_connection_that_broke_comes_again(make, proxy):
    layer = make(proxy.url)
    await layer.send("jobs", JOB)
    first = wait_for(layer)
    await until(lambda: layer.transport.named._reading.peek() is not None)
    reader = reader_of(layer)
    serve = reader.serve

    def serve_after_a_cut():
        if reader._held:
            proxy.cut()
            waiting.append(reader._held[0].link)
        else:
            serve()

    waiting = []
    reader.serve = serve_after_a_cut
    await until(lambda: waiting)
    await until(lambda: not waiting[0].is_open)
    reader.serve = serve
    serve()
    assert await soon(first) == JOB


async def test_what_nobody_waits_for_is_given_back(make, monkeypatch):
    monkeypatch.setattr(named_reader, "HOLD", 0.01)
    layer, other = make(), make()
    await layer.send("jobs", JOB)
    first = wait_for(layer)
    await until(lambda: layer.transport.named._reading.peek() is not None)
    reader = reader_of(layer)
    serve = reader.serve

    def cancel_first():
        first.cancel()

    reader.serve = cancel_first
    await asyncio.wait((first,))
    reader.serve = serve
    assert await soon(other.receive("jobs")) == JOB


async def test_after_a_while_without_callers_nothing_reads(make, monkeypatch):
    monkeypatch.setattr(named_reader, "IDLE", 0.01)
    layer = make()
    first = wait_for(layer)
    await consuming(layer)
    first.cancel()
    await asyncio.wait((first,))
    task = reader_of(layer)._task
    await until(task.done)
    await layer.send("jobs", JOB)
    assert await soon(layer.receive("jobs")) == JOB


async def test_a_caller_waits_again_when_the_connection_breaks(make, proxy):
    layer, other = make(proxy.url), make()
    first = wait_for(layer)
    await consuming(layer)
    link = reader_of(layer)._link
    proxy.cut()
    await until(lambda: not link.is_open)
    await other.send("jobs", JOB)
    assert await soon(first) == JOB


async def test_a_caller_waits_again_when_the_queue_is_deleted(make):
    layer = make()
    first = wait_for(layer)
    await consuming(layer)
    async with layer.transport._get_publisher().link() as link:
        await link.channel.queue_delete(named_queue(layer.prefix, "jobs"))
    await layer.send("jobs", JOB)
    assert await soon(first) == JOB


async def test_callers_get_an_error_when_the_layer_is_closed(make):
    layer = make()
    first, gone = wait_for(layer), wait_for(layer)
    await consuming(layer)
    gone.cancel()
    await layer.aclose()
    with pytest.raises(BrokerUnavailable, match="has been closed"):
        await soon(first)


async def test_a_reader_that_never_read_can_be_closed(make):
    layer = make()
    first = wait_for(layer)
    await until(layer.transport.named.is_awaited)
    reader = reader_of(layer)
    first.cancel()
    await asyncio.wait((first,))
    assert not reader.is_wanted()
    await reader.aclose()
    await reader.aclose()


async def test_what_is_refused_is_told_to_callers(make, rabbitmq):
    layer = make(rabbitmq.url.replace("guest:guest", "guest:wrong"))
    with pytest.raises(BrokerError, match="refused the credentials"):
        await soon(layer.receive("jobs"))


async def test_what_was_kept_over_a_connection_that_broke_is_the_brokers(make, proxy, monkeypatch):
    monkeypatch.setattr(named_reader, "HOLD", 60)
    layer, other = make(proxy.url), make()
    first = wait_for(layer)
    await consuming(layer)
    reader = reader_of(layer)
    monkeypatch.setattr(reader, "serve", first.cancel)
    await other.send("jobs", JOB)
    await until(lambda: reader._held)
    link = reader._held[0].link
    proxy.cut()
    await until(lambda: not link.is_open)
    await asyncio.wait((first,))
    await layer.stop_receiving("jobs")
    assert await soon(other.receive("jobs")) == JOB


async def test_a_caller_that_is_cancelled_as_a_message_comes_is_passed_over(make):
    layer = make()
    first, second = wait_for(layer), wait_for(layer)
    await consuming(layer)
    reader = reader_of(layer)
    await until(lambda: len(reader._callers) == 2)
    serve = reader.serve

    def cancel_first():
        reader.serve = serve
        first.cancel()  # it has had no turn to leave the line
        serve()

    reader.serve = cancel_first
    await layer.send("jobs", JOB)
    assert await soon(second) == JOB
    assert first.cancelled()


async def test_a_caller_that_is_cancelled_as_the_layer_is_closed_is_passed_over(make):
    layer = make()
    first = wait_for(layer)
    await consuming(layer)
    first.cancel()
    await reader_of(layer).aclose()
    await asyncio.wait((first,))
    assert first.cancelled()


async def test_quorum_queues_keep_the_order_of_what_comes_while_a_caller_waits(make):
    layer = make(queue_type="quorum")
    sent, received = [], []
    for start in range(0, 40, 4):
        first = wait_for(layer)
        await consuming(layer)
        for n in range(start, start + 4):
            await layer.send("jobs", {"type": "job", "n": n})
            sent.append(n)
        received.append((await soon(first))["n"])
        received += [(await soon(layer.receive("jobs")))["n"] for _ in range(3)]
    assert received == sent


async def test_nobody_who_has_given_up_takes_messages_from_others_for_long(make, monkeypatch):
    monkeypatch.setattr(named_reader, "HOLD", 0.01)
    layer, other = make(), make()
    first = wait_for(layer)
    await consuming(layer)
    first.cancel()
    channel = reader_of(layer)._link.channel
    await until(lambda: not channel.consumers)
    await other.send("jobs", JOB)
    assert await soon(other.receive("jobs")) == JOB


# Queues that give no answer


def stay_silent(layer, monkeypatch):
    """Let RabbitMQ answer nothing that is asked of the queue, as if that had no leader."""
    reader = reader_of(layer)
    declare = reader._declare

    async def declare_and_stall(link):
        await declare(link)
        monkeypatch.setattr(link.channel, "basic_get", get)

    def get(queue):
        return asyncio.get_running_loop().create_future()

    monkeypatch.setattr(reader, "_declare", declare_and_stall)
    return reader


async def test_a_queue_without_an_answer_is_asked_over_a_connection_of_its_own(make, monkeypatch):
    layer = make(response_timeout=0.5)
    first = wait_for(layer)
    await until(lambda: layer.transport.named._reading.peek() is not None)
    reader = stay_silent(layer, monkeypatch)
    await until(lambda: reader._silent_since is not None)
    trunk = layer.transport.named._reading.peek().line.link
    await layer.send("others", JOB)
    assert await soon(layer.receive("others")) == JOB
    monkeypatch.undo()
    await layer.send("jobs", JOB)
    assert await soon(first) == JOB
    assert reader._silent_since is None
    assert trunk.is_open
    assert reader._link._trunk is None


async def test_callers_are_told_of_a_queue_that_gives_no_answer_for_long(make, monkeypatch, caplog):
    layer = make(response_timeout=0.1)
    monkeypatch.setattr(reading, "PATIENCE", 0.3)
    first = wait_for(layer)
    await until(lambda: layer.transport.named._reading.peek() is not None)
    stay_silent(layer, monkeypatch)
    said = (
        "RabbitMQ has not answered for 0.3 seconds when it was asked for messages of channel jobs"
    )
    with pytest.raises(BrokerError, match=said):
        await soon(first)
    assert "delete_queue" in caplog.text
    assert {record.levelname for record in caplog.records if said in record.message} == {"ERROR"}


async def test_a_connection_that_is_not_made_says_nothing_of_the_queue(make, monkeypatch):
    layer = make()
    await layer.send("jobs", JOB)
    assert await soon(layer.receive("jobs")) == JOB
    reader = reader_of(layer)

    async def connect_late(purpose):
        raise TimeoutError

    monkeypatch.setattr(reader._nodes, "connect", connect_late)
    with pytest.raises(ConnectionError, match="let nobody connect in time"):
        await reader._connect()
    monkeypatch.undo()


async def test_what_is_kept_after_the_end_is_put_back(make):
    layer, held = make(), []
    await layer.send("jobs", JOB)
    first = wait_for(layer)
    await until(lambda: layer.transport.named._reading.peek() is not None)
    reader = reader_of(layer)
    take = reader.take

    async def note(each):
        held.append(each)
        return await take(each)

    reader.take = note
    assert await soon(first) == JOB
    await layer.stop_receiving("jobs")
    reader.keep(held[0])
    assert await soon(make().receive("jobs")) == JOB
