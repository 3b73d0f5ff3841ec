"""The queue of a process: bound, read, lost with its connection, and made anew."""

import asyncio
import time

import pytest
from aiormq.channel import Channel
from pamqp import commands, frame

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import subscriber
from channels.layers.rabbitmq import inbox as module
from channels.layers.rabbitmq.inbox import Inbox
from channels.layers.rabbitmq.names import exchange_name
from channels.layers.rabbitmq.publishing import Outcome, Publisher

from ....asgi import until


class Late:
    """A message for a mailbox that is full until a test makes room."""

    def __init__(self):
        self.mailboxes = ["full"]
        self.room = False

    def deliver(self):
        if self.room:
            self.mailboxes.clear()
        return True  # as if it had gone to one mailbox more, so that the others are waited for

    def settle(self):
        self.mailboxes.clear()


class Recipient:
    """Notes what comes, and does what a test says to do then."""

    def __init__(self):
        self.messages, self.losses, self.gaps = [], [], []
        self.on_message = self.on_restored = lambda *args: None

    @property
    def bodies(self):
        return [message.body for message in self.messages]

    def published(self, message, patience):
        self.messages.append(message)
        return self.on_message(message)

    def lost(self, reason):
        self.losses.append(reason)

    def restored(self, reason):
        self.gaps.append(reason)
        self.on_restored()


@pytest.fixture
def recipient():
    return Recipient()


@pytest.fixture
async def publisher(nodes, prefix):
    publisher = Publisher(nodes, prefix)
    yield publisher
    await publisher.aclose()


@pytest.fixture
async def make(make_nodes, proxy, prefix, recipient, publisher):
    """Makes inboxes behind the proxy; what they publish goes past it."""
    made = []

    async def nothing(link):
        pass

    def make(prepare=nothing, groups=(), sender=publisher, **options):
        nodes = make_nodes(proxy.url, **options)
        made.append(
            Inbox(nodes, prefix, "me", 1000, lambda: groups, recipient, lambda: sender, prepare)
        )
        return made[-1]

    yield make
    await asyncio.gather(*(inbox.stop() for inbox in made))


@pytest.fixture
async def inbox(make):
    """One that is up."""
    inbox = make()
    await up(inbox)
    return inbox


async def up(inbox):
    inbox.start()
    async with asyncio.timeout(10):
        await inbox.be_ready()
    assert inbox.up
    return inbox


async def soon(awaitable):
    async with asyncio.timeout(10):
        return await asyncio.shield(awaitable)


# What comes


async def test_what_is_for_the_process_and_its_groups_comes_in_order(make, publisher, recipient):
    inbox = await up(make(groups=["room"]))
    assert inbox.is_ready()
    await soon(inbox.subscribe("other"))
    await soon(inbox.subscribe("other"))
    for key in ("p.me", "g.room", "g.other", "g.another", "p.you"):
        await publisher.publish(key, key.encode())
    await soon(inbox.barrier())
    assert recipient.bodies == [b"p.me", b"g.room", b"g.other"]
    inbox.unsubscribe("other")
    await until(lambda: not inbox._tasks)
    assert await publisher.publish("g.other", b"left", mandatory=True) is Outcome.UNROUTABLE


async def test_a_process_in_many_groups_hears_all_of_them(make, publisher, recipient, monkeypatch):
    monkeypatch.setattr(module, "_BOUND_UNANSWERED", 2)
    inbox = await up(make(groups=["one", "two", "three"]))
    for key in ("g.one", "g.two", "g.three"):
        await publisher.publish(key, key.encode())
    await soon(inbox.barrier())
    assert recipient.bodies == [b"g.one", b"g.two", b"g.three"]


async def test_what_waits_for_room_keeps_what_follows_in_order(inbox, publisher, recipient):
    late = Late()
    recipient.on_message = lambda message: late if message.body == b"late" else None
    for body in (b"first", b"late", b"next"):
        await publisher.publish("p.me", body)
    await until(lambda: recipient.bodies == [b"first", b"late"])
    await until(lambda: inbox._came)
    barrier = inbox.barrier()
    late.room = True
    await soon(barrier)
    assert recipient.bodies == [b"first", b"late", b"next"]
    assert not late.mailboxes


async def test_in_a_hurry_nothing_waits_for_room(inbox, publisher, recipient):
    late = [Late(), Late()]
    recipient.on_message = lambda message: late[int(message.body)]
    await publisher.publish("p.me", b"0")
    await until(lambda: inbox._backpressure.pausing)
    await publisher.publish("p.me", b"1")
    await until(lambda: inbox._came)
    inbox.hurry()
    assert recipient.bodies == [b"0", b"1"]
    assert not late[0].mailboxes
    assert not late[1].mailboxes


async def test_what_cannot_be_handed_on_stops_nothing(inbox, publisher, recipient, caplog):
    def fail(message):
        if message.body == b"bad":
            raise ValueError("not this one")

    recipient.on_message = fail
    await publisher.publish("p.me", b"bad")
    await publisher.publish("p.me", b"good")
    await until(lambda: b"good" in recipient.bodies)
    assert "A message could not be handed on" in caplog.text


async def test_what_is_no_message_breaks_the_connection(inbox, publisher, proxy, recipient):
    deliver = commands.Basic.Deliver("inbox", 1, False, "", "p.me")
    assert proxy.say(frame.marshal(deliver, 1) * 2) == 1
    await until(lambda: recipient.gaps)
    assert "RabbitMQ sent frames that make no message" in recipient.gaps[0]
    await publisher.publish("p.me", b"news")
    await until(lambda: recipient.bodies == [b"news"])


async def test_everything_is_acknowledged_many_at_a_time(make, publisher, recipient, monkeypatch):
    monkeypatch.setattr(module, "_PREFETCH", 10)
    monkeypatch.setattr(module, "_ACKNOWLEDGED", 10)
    monkeypatch.setattr(module, "_ACKNOWLEDGE_AFTER", 5.0)
    inbox = await up(make())
    for n in range(25):  # RabbitMQ sends ten, and more when these have been acknowledged
        await publisher.publish("p.me", b"%d" % n)
    await soon(inbox.barrier())
    assert len(recipient.bodies) == 25
    assert inbox._unacknowledged == 6


async def test_the_last_messages_are_acknowledged_a_moment_later(inbox, publisher, recipient):
    await publisher.publish("p.me", b"news")
    await until(lambda: recipient.bodies)
    assert inbox._unacknowledged == 1
    await until(lambda: not inbox._unacknowledged)
    assert inbox._timer is None


async def test_nothing_is_acknowledged_over_another_connection(inbox, publisher, proxy, recipient):
    await publisher.publish("p.me", b"news")
    await until(lambda: recipient.bodies)
    assert inbox._timer is not None
    proxy.cut()
    await until(lambda: recipient.losses)
    await until(lambda: inbox._timer is None)
    await until(lambda: recipient.gaps)
    assert inbox._unacknowledged == 0


async def test_what_a_former_connection_brought_is_ignored(inbox, publisher, proxy, recipient):
    await publisher.publish("p.me", b"news")
    await until(lambda: recipient.bodies)
    former = inbox._deliveries
    proxy.cut()
    await until(lambda: recipient.gaps)
    assert inbox._deliveries is not former
    former._whole.append(recipient.messages[0])
    former._taken()
    await inbox.stop()
    assert inbox._deliveries is None
    assert recipient.bodies == [b"news"]


async def test_an_abandoned_inbox_hands_on_nothing(inbox, publisher, recipient):
    await publisher.publish("p.me", b"news")
    await until(lambda: recipient.bodies)
    inbox.abandon()
    inbox._receive(recipient.messages)
    assert recipient.bodies == [b"news"]
    await until(inbox._task.done)
    inbox._lost("the end")
    assert not recipient.losses
    inbox._gap = "before"
    inbox._up = asyncio.get_running_loop().create_future()
    inbox.works()
    assert not recipient.gaps


# The connection


async def test_a_loss_is_told_when_the_queue_is_there_again(make, publisher, proxy, recipient):
    inbox = await up(make(groups=["room"]))
    proxy.cut()
    await until(lambda: recipient.gaps)
    (reason,) = recipient.gaps
    assert reason.startswith("the connection to the broker broke: ")
    assert recipient.losses[-1] == reason
    assert inbox.is_ready()
    await publisher.publish("g.room", b"news")
    await soon(inbox.barrier())
    assert recipient.bodies == [b"news"]


async def test_what_comes_at_once_waits_until_the_loss_is_told(
    inbox, publisher, proxy, recipient, monkeypatch
):
    told = []
    recipient.on_restored = lambda: told.append("gap")
    recipient.on_message = lambda message: told.append(message.body)
    consume = Channel.basic_consume

    async def wait_for_news(channel, queue, *args, **options):
        done = await consume(channel, queue, *args, **options)
        await publisher.publish("p.me", b"news")
        await until(lambda: inbox._came)
        return done

    monkeypatch.setattr(Channel, "basic_consume", wait_for_news)
    proxy.cut()
    await until(lambda: b"news" in told)
    assert told == ["gap", b"news"]


async def test_a_connection_that_was_closed_is_repaired(inbox, recipient):
    await inbox._link.aclose()
    await until(lambda: recipient.gaps)
    assert inbox.up


async def test_a_queue_that_was_deleted_is_made_anew(inbox, recipient):
    deleted = inbox._queue
    await inbox._link.channel.queue_delete(deleted)
    await until(lambda: recipient.gaps)
    assert "the queue of this process was deleted" in recipient.gaps[0]
    assert inbox._queue != deleted


async def test_callers_wait_while_the_connection_is_broken(inbox, publisher, proxy, recipient):
    proxy.refuse()
    await until(lambda: recipient.losses)
    waiting = [inbox.subscribe("room"), inbox.barrier()]
    inbox.unsubscribe("other")
    assert inbox.is_ready()
    assert not any(each.done() for each in waiting)
    binding = asyncio.ensure_future(inbox._bind("g.later"))
    refused = proxy.connections
    await until(lambda: proxy.connections >= refused + 2)  # one attempt has failed by then
    proxy.accept()
    for each in waiting:
        await soon(each)
    await soon(binding)
    assert await publisher.publish("g.later", b"", mandatory=True) is Outcome.TAKEN


async def test_a_binding_is_made_for_the_next_connection_when_one_breaks(
    inbox, publisher, proxy, recipient
):
    def cut(data):
        if b"g.room" in data:
            proxy.on_request = None
            proxy.cut()

    proxy.on_request = cut
    await soon(inbox.subscribe("room"))
    assert recipient.gaps
    assert await publisher.publish("g.room", b"", mandatory=True) is Outcome.TAKEN


async def test_a_binding_waits_if_the_connection_breaks_as_soon_as_it_is_there(make, recipient):
    inbox = make()
    inbox.resume_from(make())
    binding = asyncio.ensure_future(inbox._bind("g.room"))
    inbox.start()
    recipient.on_restored = inbox._task.cancel
    await until(lambda: recipient.gaps and inbox._task.done())
    assert not inbox.up
    assert not binding.done()
    recipient.on_restored = lambda: None
    inbox.start()
    await soon(binding)
    assert inbox.up


async def test_a_binding_that_is_refused_is_explained(inbox, monkeypatch):
    channel = inbox._link.channel

    async def refuse(*args):  # as RabbitMQ refuses what permissions do not allow
        await channel.exchange_declare("amq.reserved")

    monkeypatch.setattr(channel, "queue_bind", refuse)
    with pytest.raises(BrokerError, match="RabbitMQ refused to bind a queue"):
        await soon(inbox.subscribe("room"))


async def test_a_binding_may_be_cancelled(inbox):
    binding = inbox.subscribe("room")
    binding.cancel()
    await until(lambda: not inbox._tasks)
    assert inbox.up


async def test_callers_are_told_what_rabbitmq_refuses_and_later_ones_wait(make, recipient):
    refused = [True]

    async def prepare(link):
        if refused:
            refused.clear()
            await link.channel.exchange_declare("amq.reserved")

    inbox = make(prepare)
    inbox.start()
    assert not inbox.is_ready()
    with pytest.raises(BrokerError, match="permissions do not allow it"):
        await soon(asyncio.ensure_future(inbox.be_ready()))
    await soon(asyncio.ensure_future(inbox.be_ready()))
    assert inbox.up
    assert not recipient.losses, "nothing was lost that had never been there"


async def test_callers_are_told_that_the_layer_was_closed(make, proxy):
    inbox = make()
    await inbox.stop()
    with pytest.raises(BrokerUnavailable, match="has been closed"):
        await inbox.wait_until_up()
    await inbox.stop()
    running = await up(make())
    barrier = running.subscribe("room")
    await running.stop()
    assert not running.up
    with pytest.raises(BrokerUnavailable, match="has been closed"):
        await soon(barrier)
    with pytest.raises(BrokerUnavailable, match="has been closed"):
        await running.wait_until_up()


# Barriers


class Mute:
    """Publishes nothing, as while RabbitMQ takes no messages."""

    async def publish(self, *args, **kwargs):
        raise BrokerUnavailable("RabbitMQ takes no messages")


async def test_nothing_is_waited_for_while_rabbitmq_takes_no_messages(make):
    inbox = await up(make(sender=Mute()))
    barrier = inbox.barrier()
    await soon(barrier)
    assert barrier.done()
    assert not inbox._marks


async def test_a_mark_that_may_be_lost_is_sent_again(make, make_nodes, prefix, proxy):
    sender = Publisher(make_nodes(proxy.url), prefix)
    inbox = make(sender=sender)
    inbox._nodes = make_nodes()
    await up(inbox)
    async with sender.link():
        pass

    def cut(data):
        proxy.on_request = None
        proxy.cut()

    proxy.on_request = cut
    await soon(inbox.barrier())
    assert proxy.connections == 2
    await sender.aclose()


async def test_no_mark_is_sent_again_for_a_queue_that_is_lost(make, make_nodes, prefix, proxy):
    sender = Publisher(make_nodes(proxy.url), prefix)
    inbox = make(sender=sender)
    inbox._nodes = make_nodes()
    await up(inbox)
    async with sender.link():
        pass
    proxy.stall()
    barrier = inbox.barrier()
    await until(lambda: sender.under_way)
    await inbox._link.aclose()
    await soon(barrier)
    proxy.cut()
    proxy.flow()
    await until(lambda: not inbox._tasks)
    assert proxy.connections == 1
    await sender.aclose()


async def test_nobody_waits_for_a_mark_that_there_is_no_queue_for(inbox, monkeypatch):
    monkeypatch.setattr(inbox, "_queue", "gone")
    await soon(inbox.barrier())
    assert len(inbox._marks) == 0


# Probes


@pytest.fixture
def probing(monkeypatch):
    monkeypatch.setattr(module, "PROBE_EVERY", 0.02)


@pytest.mark.usefixtures("probing")
async def test_an_exchange_that_was_deleted_is_noticed(inbox, admin, prefix, recipient):
    await admin.exchange_delete(exchange_name(prefix))
    await until(lambda: recipient.gaps)
    assert inbox.up


@pytest.mark.usefixtures("probing")
async def test_a_key_that_was_unbound_is_noticed(inbox, prefix, recipient):
    await inbox._link.channel.queue_unbind(inbox._queue, exchange_name(prefix), "p.me")
    await until(lambda: recipient.gaps)
    assert "the exchange was deleted, or what was bound to it" in recipient.gaps[0]


@pytest.mark.usefixtures("probing")
async def test_a_connection_that_brings_much_slowly_is_kept(make, publisher, recipient):
    await up(make(response_timeout=0.3))
    recipient.on_message = lambda _: time.sleep(0.005)
    await asyncio.gather(*(publisher.publish("p.me", b"news") for _ in range(300)))
    await until(lambda: len(recipient.messages) == 300)
    assert not recipient.losses


@pytest.mark.usefixtures("probing")
async def test_a_connection_that_brings_nothing_is_given_up(make, proxy, recipient):
    await up(make(response_timeout=0.5))
    proxy.stall()
    await until(lambda: recipient.losses)
    assert "nothing came for 0.5 seconds" in recipient.losses[0]
    proxy.flow()


@pytest.mark.usefixtures("probing")
async def test_a_connection_is_kept_while_what_came_waits_for_room(make, publisher, recipient):
    inbox = await up(make())
    inbox._nodes.response_timeout = 0.3
    late = Late()
    recipient.on_message = lambda message: late
    await publisher.publish("p.me", b"late")
    await until(lambda: inbox._backpressure.pausing)
    await until(lambda: len(inbox._marks) >= 2)  # one probe has not arrived in time
    assert inbox._backpressure.pausing
    late.room = True
    await until(lambda: not inbox._backpressure.pausing)
    assert not recipient.losses


# Event loops


async def test_an_inbox_that_has_wound_down_is_followed_by_another_without_a_loss(
    inbox, make, publisher, recipient
):
    await publisher.publish("p.me", b"last")
    assert await inbox.wind_down()
    assert recipient.bodies == [b"last"]
    assert not inbox.is_ready()
    assert await publisher.publish("p.me", b"gone", mandatory=True) is Outcome.UNROUTABLE
    follower = make()
    follower.resume_from(inbox)
    await up(follower)
    assert not recipient.losses
    assert not recipient.gaps


@pytest.mark.usefixtures("probing")
async def test_an_inbox_that_has_wound_down_may_go_on(inbox, publisher, recipient):
    assert await inbox.wind_down()
    await inbox._probe()  # that nothing comes is no fault then
    await soon(asyncio.ensure_future(inbox.be_ready()))
    assert inbox.is_ready()
    await inbox.be_ready()
    await publisher.publish("p.me", b"news")
    await soon(inbox.barrier())
    assert recipient.bodies == [b"news"]


async def test_an_inbox_that_could_not_wind_down_goes_on(
    inbox, publisher, proxy, recipient, monkeypatch
):
    monkeypatch.setattr(subscriber, "_LEAVING", 0.05)
    proxy.stall()
    assert not await inbox.wind_down()
    assert not inbox.is_ready()
    proxy.flow()
    await soon(asyncio.ensure_future(inbox.be_ready()))
    assert inbox.is_ready(), "else the receiver asks again and again"
    assert await publisher.publish("p.me", b"news", mandatory=True) is Outcome.TAKEN
    await until(lambda: recipient.bodies == [b"news"])
    assert not recipient.losses


async def test_an_inbox_that_is_not_up_has_not_wound_down(make, monkeypatch):
    monkeypatch.setattr(subscriber, "_LEAVING", 0.01)
    inbox = make()
    assert not await inbox.wind_down()


async def test_one_that_takes_over_from_a_lost_event_loop_tells_of_it(inbox, make, recipient):
    follower = make()
    inbox.abandon()
    follower.resume_from(inbox)
    await up(follower)
    assert recipient.losses == recipient.gaps == ["the event loop that received has ended"]


def test_an_inbox_of_a_closed_event_loop_is_abandoned(nodes, prefix, recipient):
    async def listen():
        return Inbox(nodes, prefix, "me", 10, list, recipient, Mute, None)

    loop = asyncio.new_event_loop()
    inbox = loop.run_until_complete(listen())
    inbox.abandon()
    assert inbox._recipient is None

    async def start():
        inbox._task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        await asyncio.sleep(0)

    loop.run_until_complete(start())
    task = inbox._task
    task._log_destroy_pending = False
    loop.close()
    inbox.abandon()
    task.get_coro().close()
