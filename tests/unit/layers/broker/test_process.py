import time

import pytest

from channels import signals
from channels.exceptions import InvalidNameError
from channels.layers.base import BaseChannelLayer
from channels.layers.broker.process import ProcessChannels, process_of
from channels.layers.messages import snapshot
from channels.layers.statistics import Statistics


class Layer:
    def count_pending(self):
        return 7


def test_a_channel_name_tells_the_process_that_receives_from_it():
    assert process_of("specific.abc!def") == "abc"
    assert process_of("a.b.c!") == "c"
    assert process_of("named.channel") is None


@pytest.fixture
def emptied():
    return []


@pytest.fixture
def statistics():
    return Statistics(Layer())


@pytest.fixture
def local(statistics, emptied):
    return ProcessChannels(statistics, emptied.append, expiry=10)


def entry(expiry=10):
    return (time.monotonic() + expiry, snapshot({"type": "test.message"}))


def test_the_channels_of_a_process_count_for_their_layer(local, statistics):
    local.deliver("channel", entry())
    assert local.statistics is statistics
    assert statistics.sent == 1
    assert statistics.pending == 7


def test_the_layer_says_which_names_are_valid_and_how_much_a_channel_holds(statistics, emptied):
    class Own(BaseChannelLayer):
        MAX_NAME_LENGTH = 200

        def get_capacity(self, channel):
            return 1

    local = ProcessChannels(statistics, emptied.append, Own(), expiry=10)
    assert [local.deliver("c" * 150, entry()) for _ in range(2)] == [True, False]
    with pytest.raises(InvalidNameError, match="length < 200"):
        local.deliver("c" * 250, entry())


def test_the_last_member_empties_a_group(local, emptied):
    for channel in ("first", "second"):
        local.join("group", channel)
        assert local.is_member("group", channel)
    local.part("group", "first")
    assert not local.is_member("group", "first")
    assert emptied == []
    local.part("group", "second")
    assert emptied == ["group"]
    local.part("group", "second")
    assert emptied == ["group"], "once"
    assert not local.is_member("never", "second")


async def test_the_end_of_a_consumer_empties_its_groups(local, emptied):
    mailbox = local.open_mailbox("channel", lambda: None)
    for group in ("a", "b"):
        local.join(group, "channel")
    await local.close_mailbox(mailbox)
    assert sorted(emptied) == ["a", "b"]


async def test_a_member_of_a_group_keeps_its_mailbox(local):
    for group in ("a", "b"):
        local.join(group, "member")
    for channel in ("member", "other"):
        local.deliver(channel, entry())
        await local.receive(channel)
    assert local.has_mailbox("member")
    assert not local.has_mailbox("other")


# Messages under way


def test_messages_under_way_take_up_room(local):
    local.deliver("channel", entry())
    assert [local.reserve("channel", 3) for _ in range(3)] == [True, True, False]
    local.release("channel")
    assert [local.reserve("channel", 3) for _ in range(2)] == [True, False]
    assert local.reserve("other", 3), "each channel by itself"


def test_releasing_more_than_was_reserved_makes_no_room(local):
    for _ in range(5):
        local.release("channel")
    assert [local.reserve("channel", 1) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("flush", [False, True])
async def test_messages_that_will_not_arrive_take_up_no_room(local, flush):
    assert local.reserve("channel", 1)
    if flush:
        await local.flush()
    else:
        local.release_all()
    assert local.reserve("channel", 1)


def test_what_was_lost_on_its_way_is_counted_as_sent_and_dropped(local, drops):
    local.drop("capacity", "channel")
    local.drop("expired", "group", 3)
    assert local.statistics.sent == 4
    assert local.statistics.dropped == {"capacity": 1, "expired": 3}
    assert drops == [("channel", "capacity", 1), ("group", "expired", 3)]


# Gaps


@pytest.fixture
async def told(local):
    """Which consumers have been told of a gap since they were asked last: two, in one group."""
    mailboxes = [local.open_mailbox(channel, lambda: None) for channel in ("first", "second")]
    for group in ("a", "b"):
        local.join(group, "second")

    def told():
        news = {mailbox.channel: mailbox.take() for mailbox in mailboxes}
        return {channel: gap["reason"] for channel, gap in news.items() if gap is not None}

    yield told
    for mailbox in mailboxes:
        await mailbox.close()


async def test_every_consumer_is_told_of_a_gap(local, told):
    local.announce_gap("why")
    assert told() == {"first": "why", "second": "why"}


async def test_consumers_concerned_are_told_of_a_gap(local, told):
    seen = {}

    def concerns(channel, groups):
        seen[channel] = sorted(groups)
        return channel == "second"

    local.announce_gap("why", concerns)
    assert told() == {"second": "why"}
    assert seen == {"first": [], "second": ["a", "b"]}


async def test_one_consumer_is_told_of_a_gap(local, told):
    local.announce_gap_to_channel("first", "why")
    local.announce_gap_to_channel("not-here", "why")
    assert told() == {"first": "why"}


async def test_members_of_a_group_are_told_of_a_gap(local, told):
    local.join("a", "no-consumer")
    local.announce_gap_to_group("a", "why")
    local.announce_gap_to_group("not-here", "why")
    assert told() == {"second": "why"}


async def test_gaps_are_signalled_with_how_many_consumers_are_told(local, statistics):
    heard = []

    def hear(sender, layer, reason, channels, **others):
        heard.append((sender, reason, channels))

    signals.layer_gap.connect(hear)
    try:
        local.announce_gap("nobody is here")
        for channel in ("specific.abc!1", "specific.abc!2"):
            local.attach(channel, lambda: None)
            local.join("room", channel)
        local.announce_gap("all")
        local.announce_gap_to_channel("specific.abc!1", "one")
        local.announce_gap_to_group("room", "a group")
    finally:
        signals.layer_gap.disconnect(hear)
    assert heard == [(Layer, "all", 2), (Layer, "one", 1), (Layer, "a group", 2)]
