"""The mailbox of a consumer that gets its messages by the layer's ``receive``."""

import asyncio
from collections import defaultdict

import pytest

from channels.exceptions import ChannelsError
from channels.layers import InMemoryChannelLayer
from channels.layers.receiving import ReceivingMailbox
from channels.layers.third_party import adapt

from .broker.loopback import Broker, LoopbackLayer
from .helpers import message, until


class MinimalLayer:
    """A third party's layer: no base class, no mailboxes, nothing but the well-known methods."""

    def __init__(self):
        self.queues = defaultdict(asyncio.Queue)
        self.groups = defaultdict(set)
        self.received = 0
        self.made = 0

    async def send(self, channel, message):
        self.queues[channel].put_nowait(message)

    async def receive(self, channel):
        received = await self.queues[channel].get()
        if isinstance(received, BaseException):
            raise received
        self.received += 1
        return received

    async def new_channel(self):
        self.made += 1
        return f"minimal!{self.made}"

    async def group_add(self, group, channel):
        self.groups[group].add(channel)

    async def group_discard(self, group, channel):
        self.groups[group].discard(channel)

    async def group_send(self, group, message):
        for channel in self.groups[group]:
            await self.send(channel, message)


@pytest.fixture
async def layer():
    return MinimalLayer()


@pytest.fixture
async def wakes():
    return []


@pytest.fixture
async def mailbox(layer, wakes):
    mailbox = adapt(layer).open_mailbox("minimal!1", lambda: wakes.append(1))
    yield mailbox
    await mailbox.close()


async def take(mailbox):
    """What the mailbox gives next, as a connection that is woken would find it."""
    found = []

    def look():
        taken = mailbox.take()
        if taken is not None:
            found.append(taken)
        return found

    await until(look)
    return found[0]


def running_tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_layer_with_mailboxes_gives_one_and_needs_no_task():
    layer = InMemoryChannelLayer()
    woken = []
    before = running_tasks()
    mailbox = adapt(layer).open_mailbox("a", lambda: woken.append(1))
    assert running_tasks() == before
    await layer.send("a", message(1))
    assert woken
    assert mailbox.take() == message(1)
    assert mailbox.take() is None
    await mailbox.close()


async def test_any_other_layer_is_received_from(layer, mailbox):
    assert isinstance(mailbox, ReceivingMailbox)
    assert mailbox.overflowed is False
    assert mailbox.take() is None


async def test_messages_come_in_order_and_each_wakes(layer, mailbox, wakes):
    await layer.group_add("group", "minimal!1")
    for n in range(20):
        await layer.group_send("group", message(n))
    assert [await take(mailbox) for _ in range(20)] == [message(n) for n in range(20)]
    assert len(wakes) == 20
    assert mailbox.take() is None


async def test_what_is_not_asked_for_stays_in_the_layer(layer, mailbox, wakes):
    for n in range(10):
        await layer.send("minimal!1", message(n))
    await until(lambda: wakes)
    for _ in range(20):
        await asyncio.sleep(0)
    assert layer.received == 1
    assert layer.queues["minimal!1"].qsize() == 9
    for taken in range(1, 5):
        await take(mailbox)
        for _ in range(20):
            await asyncio.sleep(0)
        assert layer.received == taken + 1


async def test_a_failing_receive_reaches_whoever_takes(layer, mailbox, wakes):
    await layer.send("minimal!1", message(1))
    await layer.send("minimal!1", ConnectionError("the broker is gone"))
    assert await take(mailbox) == message(1)  # what came before it first
    await until(lambda: len(wakes) == 2)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="the broker is gone"):
            mailbox.take()


async def test_a_receive_that_is_cancelled_within_the_layer_does_not_go_unnoticed(
    layer, mailbox, wakes
):
    await layer.send("minimal!1", asyncio.CancelledError())
    await until(lambda: wakes)
    with pytest.raises(ChannelsError, match="cancelled its own receive"):
        mailbox.take()


def test_a_ctrl_c_while_the_layer_receives_ends_the_process_and_wakes_no_consumer():
    woken, tasks = [], []

    async def serve():
        layer = MinimalLayer()
        adapt(layer).open_mailbox("minimal!1", lambda: woken.append(1))
        tasks.extend(running_tasks())
        await layer.send("minimal!1", KeyboardInterrupt())
        await until(lambda: woken)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(serve())
    assert woken == []
    (task,) = tasks
    assert isinstance(task.exception(), KeyboardInterrupt)


async def test_a_consumer_that_takes_as_it_is_woken_gets_every_message(layer):
    taken = []

    def wake():
        if len(taken) < 5:  # it is woken once more as the mailbox is closed
            taken.append(mailbox.take())

    mailbox = adapt(layer).open_mailbox("minimal!1", wake)
    for n in range(5):
        await layer.send("minimal!1", message(n))
    await until(lambda: len(taken) == 5)
    assert taken == [message(n) for n in range(5)]
    await mailbox.close()


async def test_closing_stops_receiving(layer):
    before = running_tasks()
    mailbox = adapt(layer).open_mailbox("minimal!1", lambda: None)
    await until(lambda: layer.queues["minimal!1"]._getters)
    await mailbox.close()
    assert running_tasks() == before
    await layer.send("minimal!1", message())
    await asyncio.sleep(0)
    assert layer.queues["minimal!1"].qsize() == 1
    await mailbox.close()


@pytest.mark.parametrize("stage", ["not started", "has a message", "failed"])
async def test_closing_at_any_stage(layer, stage):
    before = running_tasks()
    mailbox = adapt(layer).open_mailbox("minimal!1", lambda: None)
    if stage == "has a message":
        await layer.send("minimal!1", message())
        await until(lambda: layer.received)
    elif stage == "failed":
        await layer.send("minimal!1", ValueError("broken"))
        await until(lambda: running_tasks() == before)
    await mailbox.close()
    assert running_tasks() == before


# A subclass of one of our layers, with a receive() of its own


class Stamped:
    async def receive(self, channel):
        return {**await super().receive(channel), "stamped": True}


class StampedInMemory(Stamped, InMemoryChannelLayer):
    pass


class StampedBroker(Stamped, LoopbackLayer):
    def __init__(self, **options):
        super().__init__(Broker(), **options)


@pytest.fixture(params=[StampedInMemory, StampedBroker])
def stamped(request):
    return request.param


async def test_what_a_subclass_does_in_receive_it_does_for_consumers_too(stamped, wakes):
    layer = stamped()
    before = running_tasks()
    channel = await layer.new_channel()
    mailbox = layer.open_mailbox(channel, lambda: wakes.append(1))
    assert mailbox.overflowed is False
    assert mailbox.take() is None
    await layer.group_add("group", channel)
    for n in range(5):
        await layer.group_send("group", message(2 * n))
        await layer.send(channel, message(2 * n + 1))
    for n in range(10):
        assert await take(mailbox) == {**message(n), "stamped": True}
    assert wakes
    await mailbox.close()
    assert running_tasks() == before
    await layer.group_send("group", message(10))
    assert layer.statistics.pending == 0
    assert layer.statistics.dropped == {}
    assert layer.statistics.sent == layer.statistics.delivered == 10


async def test_a_consumer_of_such_a_subclass_is_told_of_gaps(stamped, wakes):
    layer = stamped(capacity=2)
    channel = await layer.new_channel()
    mailbox = layer.open_mailbox(channel, lambda: wakes.append(1))
    await layer.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n))
    taken = [await take(mailbox) for _ in range(3)]
    assert [each for each in taken if each["type"] != "layer.gap"] == [
        {**message(n), "stamped": True} for n in range(2)
    ]
    assert layer.statistics.dropped == {"capacity": 1}
    await mailbox.close()


async def test_a_consumer_of_such_a_subclass_that_does_not_keep_up_is_given_up(stamped, wakes):
    layer = stamped(capacity=2, overflow="disconnect")
    channel = await layer.new_channel()
    mailbox = layer.open_mailbox(channel, lambda: wakes.append(1))
    await layer.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n))
    assert mailbox.overflowed is True
    await mailbox.close()
