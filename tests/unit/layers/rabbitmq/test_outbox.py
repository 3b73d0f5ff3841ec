"""What has been published over a connection, and what its callers are told."""

import asyncio

import pytest
from pamqp import commands, frame

from channels.exceptions import BrokerError, MessageTooLarge, Unconfirmed
from channels.layers.rabbitmq.frames import properties
from channels.layers.rabbitmq.outbox import Outbox, Outcome
from channels.layers.rabbitmq.wire import Wire

from ....asgi import until

PLAIN, NUMBERED = properties(), properties(numbered=True)


@pytest.fixture
async def make(make_nodes, proxy):
    """Makes outboxes whose connections lead through the proxy."""
    made = []

    async def make(patience=5.0):
        wire = Wire()
        link = await make_nodes(proxy.url).connect("testing", transport=wire)
        made.append(Outbox(link, wire, patience))
        return made[-1]

    yield make
    await asyncio.gather(*(outbox.aclose() for outbox in made))


@pytest.fixture
async def outbox(make):
    return await make()


@pytest.fixture
async def queue(admin, prefix):
    await admin.queue_declare(prefix, exclusive=True)
    return prefix


def publish(outbox, key, body=b"news"):
    return outbox.publish("", key, body, PLAIN, mandatory=False)


async def bodies(admin, queue):
    """All that is in a queue."""
    found = []
    while True:
        message = await admin.basic_get(queue, no_ack=True)
        if message.delivery_tag is None:
            return found
        found.append(message.body)


def confirm(proxy, number, *, multiple=False, kind=commands.Basic.Ack):
    proxy.say(frame.marshal(kind(number, multiple), 1))


async def test_messages_of_one_turn_are_written_together_and_in_order(outbox, queue, admin, proxy):
    seen = []
    proxy.on_request = seen.append
    sent = [b"%d" % number for number in range(100)]
    outcomes = await asyncio.gather(*(publish(outbox, queue, body) for body in sent))
    assert set(outcomes) == {Outcome.TAKEN}
    assert len(seen) < 10
    assert await bodies(admin, queue) == sent


async def test_a_message_is_written_at_once_if_nothing_is_under_way(outbox, queue, monkeypatch):
    written = []
    write = outbox._wire.write
    monkeypatch.setattr(outbox._wire, "write", lambda data: written.append(data) or write(data))
    first = publish(outbox, queue, b"first")
    assert len(written) == 1
    others = [publish(outbox, queue, body) for body in (b"second", b"third")]
    assert len(written) == 1
    assert set(await asyncio.gather(first, *others)) == {Outcome.TAKEN}
    assert len(written) == 2
    outcome = publish(outbox, queue, b"fourth")
    assert len(written) == 3
    assert await outcome is Outcome.TAKEN


async def test_a_long_message_arrives_whole(outbox, queue, admin):
    body = bytes(range(256)) * 2000
    assert await publish(outbox, queue, body) is Outcome.TAKEN
    assert await publish(outbox, queue, b"") is Outcome.TAKEN
    assert await bodies(admin, queue) == [body, b""]


async def test_of_many_messages_those_without_a_queue_are_known(outbox, queue):
    outcomes = await asyncio.gather(
        *(
            outbox.publish("", key, b"x" * size, NUMBERED, mandatory=True)
            for key in (queue, f"{queue}-gone")
            for size in (0, 5, 200_000)
        )
    )
    assert outcomes == [Outcome.TAKEN] * 3 + [Outcome.UNROUTABLE] * 3


async def test_one_confirmation_is_for_one_message_or_for_all_before_it(outbox, proxy):
    proxy.stall()
    sent = [publish(outbox, "nowhere") for _ in range(6)]
    confirm(proxy, 3)
    await until(sent[2].done)
    assert [each.done() for each in sent] == [False, False, True, False, False, False]
    confirm(proxy, 4, multiple=True, kind=commands.Basic.Nack)
    await until(sent[3].done)
    taken, full = Outcome.TAKEN, Outcome.FULL
    assert [each.result() for each in sent[:4]] == [full, full, taken, full]
    assert not sent[4].done()
    confirm(proxy, 6, multiple=True)
    assert await asyncio.gather(*sent[4:]) == [taken, taken]


async def test_a_message_whose_caller_has_gone_is_published(outbox, queue, admin):
    gone, other = publish(outbox, queue, b"1"), publish(outbox, queue, b"2")
    gone.cancel()
    assert await other is Outcome.TAKEN
    assert await publish(outbox, queue, b"3") is Outcome.TAKEN
    assert await bodies(admin, queue) == [b"1", b"2", b"3"]


async def test_messages_are_given_up_one_by_one_and_late_confirmations_ignored(make, proxy):
    outbox = await make(patience=0.2)
    proxy.stall()
    first = publish(outbox, "nowhere")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.shield(first)
    second = publish(outbox, "nowhere")
    gone = publish(outbox, "nowhere")
    gone.cancel()
    with pytest.raises(Unconfirmed, match=r"for 0\.2 seconds"):
        await first
    assert not second.done()
    with pytest.raises(Unconfirmed, match=r"for 0\.2 seconds"):
        await second
    proxy.flow()
    assert await publish(outbox, "nowhere") is Outcome.TAKEN
    await until(lambda: outbox._timer is None)


async def test_a_message_that_comes_back_late_is_ignored(make, proxy):
    outbox = await make(patience=0.1)
    proxy.stall()
    late = outbox.publish("", "nowhere", b"news", NUMBERED, mandatory=True)
    with pytest.raises(Unconfirmed):
        await late
    proxy.flow()
    assert await publish(outbox, "nowhere") is Outcome.TAKEN


@pytest.mark.parametrize("reset", [True, False])
async def test_what_was_not_confirmed_when_the_connection_broke_may_have_arrived(
    outbox, proxy, reset
):
    proxy.stall()
    sent = [publish(outbox, "nowhere"), publish(outbox, "nowhere")]
    sent[1].cancel()
    await asyncio.sleep(0)
    proxy.cut(reset=reset)
    with pytest.raises(Unconfirmed, match="has not confirmed a message: "):
        await sent[0]
    assert not outbox.is_open
    assert not outbox.is_ready
    assert outbox._timer is None


async def test_only_messages_to_an_exchange_that_was_refused_are_refused(outbox, proxy):
    proxy.stall()
    refused = publish(outbox, "nowhere")
    other = outbox.publish("other", "key", b"news", PLAIN, mandatory=False)
    reason = "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'x'"
    proxy.say(frame.marshal(commands.Channel.Close(403, reason, 60, 40), 1))
    with pytest.raises(BrokerError, match=r"refused a message.*amq\.default") as caught:
        await refused
    assert type(caught.value) is BrokerError
    with pytest.raises(Unconfirmed, match="ACCESS_REFUSED"):
        await other


async def test_a_message_that_is_too_large_is_told_alone(outbox, proxy):
    proxy.stall()
    large = publish(outbox, "nowhere", b"x" * 2000)
    other = publish(outbox, "nowhere")
    reason = "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000"
    proxy.say(frame.marshal(commands.Channel.Close(406, reason, 60, 40), 1))
    with pytest.raises(MessageTooLarge, match="up to 1000 bytes, and this one has 2000; keep"):
        await large
    with pytest.raises(Unconfirmed, match="larger than"):
        await other
    assert outbox.largest == 1000


async def test_a_call_that_ends_the_channel_ends_the_outbox(outbox):
    with pytest.raises(Exception, match="NOT_FOUND"):
        await outbox.link.ask(lambda channel: channel.queue_declare("nowhere", passive=True))
    await until(lambda: not outbox.is_open)


async def test_what_was_published_last_is_written_before_the_end(outbox, queue, admin):
    last = publish(outbox, queue)
    await outbox.aclose()
    await asyncio.wait((last,))
    assert last.exception() is None or isinstance(last.exception(), Unconfirmed)
    assert await bodies(admin, queue) == [b"news"]
