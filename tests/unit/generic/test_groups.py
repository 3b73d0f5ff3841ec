from types import SimpleNamespace

import pytest

from channels.exceptions import BrokerError, InvalidChannelLayerError
from channels.generic._groups import join_groups, leave_groups, own_groups


class Layer:
    """Does what it is told to; fails for the groups in ``failures``."""

    def __init__(self, **failures):
        self.failures, self.log = failures, []

    async def group_add(self, group, channel):
        self.log.append(("add", group, channel))
        if group in self.failures:
            raise self.failures[group]

    async def group_discard(self, group, channel):
        self.log.append(("discard", group, channel))
        if group in self.failures:
            raise self.failures[group]


def make_consumer(*groups, **failures):
    return SimpleNamespace(
        groups=list(groups), channel_layer=Layer(**failures), channel_name="here"
    )


class Some:
    groups = ["a"]


def test_a_consumers_list_is_its_own():
    one, other = Some(), Some()
    own_groups(one)
    one.groups.append("b")
    assert (one.groups, other.groups) == (["a", "b"], ["a"])


def test_no_groups_are_an_empty_list():
    consumer = make_consumer()
    consumer.groups = None
    own_groups(consumer)
    assert consumer.groups == []


async def test_groups_are_joined_and_left_in_order():
    consumer = make_consumer("a", "b")
    await join_groups(consumer)
    await leave_groups(consumer)
    assert consumer.channel_layer.log == [
        ("add", "a", "here"),
        ("add", "b", "here"),
        ("discard", "a", "here"),
        ("discard", "b", "here"),
    ]


async def test_after_a_failure_those_that_were_joined_are_left():
    consumer = make_consumer("a", "b", "c", b=BrokerError("away"))
    with pytest.raises(BrokerError):
        await join_groups(consumer)
    assert consumer.groups == ["a"]


async def test_one_that_cannot_be_left_does_not_keep_the_others():
    consumer = make_consumer("a", "b", "c", a=ValueError("first"), b=ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        await leave_groups(consumer)
    assert [group for _, group, _ in consumer.channel_layer.log] == ["a", "b", "c"]


async def test_a_broker_that_is_away_is_asked_once():
    consumer = make_consumer("a", "b", a=BrokerError("away"))
    with pytest.raises(BrokerError):
        await leave_groups(consumer)
    assert [group for _, group, _ in consumer.channel_layer.log] == ["a"]


@pytest.mark.parametrize(
    "consumer",
    [
        SimpleNamespace(groups=["a"]),
        SimpleNamespace(groups=["a"], channel_layer=None, channel_name="here"),
        SimpleNamespace(groups=["a"], channel_layer=Layer()),
    ],
)
async def test_without_a_layer_that_has_groups(consumer):
    with pytest.raises(InvalidChannelLayerError, match="doesn't support groups"):
        await join_groups(consumer)
