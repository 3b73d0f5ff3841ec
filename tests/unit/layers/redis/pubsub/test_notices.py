"""Notices that a message may have been lost, as they travel over a real server."""

import pytest

from channels.exceptions import SerializationError
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.partitions import Partitions
from channels.layers.redis.pubsub.notices import LossNotices

from .....asgi import until
from .....proxy import Proxy


@pytest.fixture
async def make(prefix):
    made = []

    def make(*addresses):
        made.append(Partitions(*parse_hosts(list(addresses), prefix)))
        return LossNotices(made[-1])

    yield make
    for partitions in made:
        sender = partitions.senders.pop()
        if sender is not None:
            await sender.aclose()


@pytest.fixture
def heard(redis, prefix):
    """What is published to the topic that the prefix names."""
    with redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(prefix)
        listener.get_message(timeout=1)
        found = []

        def heard():
            message = listener.get_message()
            if message is not None:
                found.append(message["data"])
            return found

        yield heard


async def test_listeners_learn_that_a_message_may_have_been_lost(
    make, shared_broker, heard, prefix
):
    notices = make(shared_broker.address)
    notices.publish(0, "PUBLISH", prefix)
    await until(heard)
    (notice,) = heard()
    assert "sender" in notices.read(0, notice)


async def test_a_notice_waits_for_the_server_and_stands_for_all_that_was_lost_there(
    make, shared_broker, heard, prefix
):
    async with Proxy(shared_broker.address) as proxy:
        notices = make(proxy.address)
        proxy.stall()
        for _ in range(10):
            notices.publish(0, "PUBLISH", prefix)
        notices.publish(0, "PUBLISH", prefix, b"c1 ")
        proxy.flow()
        await until(lambda: len(heard()) == 2)
        for_group, for_channel = heard()
        assert for_channel.startswith(b"c1 ")
        assert notices.read(0, for_group)
        assert notices.read(0, for_channel.removeprefix(b"c1 "))


async def test_a_notice_is_not_published_once_its_connection_has_been_closed(
    shared_broker, heard, prefix
):
    async with Proxy(shared_broker.address) as proxy:
        partitions = Partitions(*parse_hosts([proxy.address], prefix))
        notices = LossNotices(partitions)
        proxy.stall()
        notices.publish(0, "PUBLISH", prefix, b"closed ")
        await partitions.senders.pop().aclose()
        proxy.flow()
        for head in (b"closed ", b"last "):
            notices.publish(0, "PUBLISH", prefix, head)
        await until(lambda: any(notice.startswith(b"last ") for notice in heard()))
        await partitions.senders.pop().aclose()
    assert [notice.split()[0] for notice in heard()] == [b"closed", b"last"], "one of each"


def test_the_fault_that_this_process_had_too_has_been_told(make, shared_broker):
    notices = make(*[shared_broker.address] * 2)
    notices.repaired(0)
    assert notices.read(0, b"\x00unsure 0.5") is None
    assert notices.read(1, b"\x00unsure 0.5")
    assert notices.read(0, b"\x00unsure -30"), "a fault after the repair"


@pytest.mark.parametrize("rubbish", [b"\x00unsure ", b"\x00unsure soon", b""])
def test_a_text_that_is_no_notice_is_refused(make, shared_broker, rubbish):
    with pytest.raises(SerializationError):
        make(shared_broker.address).read(0, rubbish)
