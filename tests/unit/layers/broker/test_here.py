import time

import pytest

from channels.layers.broker.here import Here
from channels.layers.messages import snapshot
from channels.layers.statistics import Statistics


class Layer:
    def count_pending(self):
        return 7


@pytest.fixture
def emptied():
    return []


@pytest.fixture
def statistics():
    return Statistics(Layer())


@pytest.fixture
def here(statistics, emptied):
    return Here(statistics, emptied.append, expiry=10)


def entry(expiry=10):
    return (time.monotonic() + expiry, snapshot({"type": "test.message"}))


def test_it_counts_for_its_layer(here, statistics):
    here.deliver("channel", entry())
    assert here.statistics is statistics
    assert statistics.sent == 1
    assert statistics.pending == 7


def test_the_last_member_empties_a_group(here, emptied):
    for channel in ("first", "second"):
        here.join("group", channel)
        assert here.is_member("group", channel)
    here.part("group", "first")
    assert not here.is_member("group", "first")
    assert emptied == []
    here.part("group", "second")
    assert emptied == ["group"]
    here.part("group", "second")
    assert emptied == ["group"], "once"
    assert not here.is_member("never", "second")


async def test_the_end_of_a_consumer_empties_its_groups(here, emptied):
    mailbox = here.open_mailbox("channel", lambda: None)
    for group in ("a", "b"):
        here.join(group, "channel")
    await here.close_mailbox(mailbox)
    assert sorted(emptied) == ["a", "b"]


async def test_a_member_keeps_its_mailbox(here):
    for group in ("a", "b"):
        here.join(group, "member")
    for channel in ("member", "other"):
        here.deliver(channel, entry())
        await here.receive(channel)
    ((mailbox, groups),) = here.mailboxes()
    assert mailbox.channel == "member"
    assert sorted(groups) == ["a", "b"]


async def test_each_mailbox_comes_with_its_groups(here):
    for channel in ("first", "second"):
        here.open_mailbox(channel, lambda: None)
    here.join("group", "second")
    found = {mailbox.channel: groups for mailbox, groups in here.mailboxes()}
    assert found == {"first": [], "second": ["group"]}
