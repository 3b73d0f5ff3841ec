import asyncio
import threading

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker.memberships import Memberships
from channels.layers.broker.process import ProcessChannels
from channels.layers.statistics import Statistics

from ....asgi import until


class Broker:
    """What a broker would know of the process: it takes note of everything it is asked."""

    def __init__(self, *, catches_up=False, tells_left=True):
        self.members, self.asked = set(), []
        self.error, self.held, self.calls = None, None, None
        self.tells_left = tells_left
        self.loop = asyncio.get_running_loop()
        self.local = ProcessChannels(Statistics(self), self.emptied)
        self.memberships = Memberships(
            self.local,
            self.call_soon,
            self.join,
            self.leave,
            self.catch_up if catches_up else None,
        )

    def emptied(self, group):
        self.memberships.emptied(group)

    def call_soon(self, callback):
        if self.calls is not None:
            self.calls.append(callback)
        else:
            self.loop.call_soon_threadsafe(callback)

    async def join(self, group):
        self.asked.append(("join", group))
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error
        self.members.add(group)

    def leave(self, group):
        self.asked.append(("leave", group))
        self.members.discard(group)
        return self.left() if self.tells_left else None

    async def left(self):
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def catch_up(self, group):
        self.asked.append(("catch up", group))


@pytest.fixture
async def broker():
    return Broker()


@pytest.fixture
async def memberships(broker):
    return broker.memberships


# Joining


async def test_a_process_joins_a_group_once(broker, memberships):
    await asyncio.gather(*(memberships.join("g", f"channel-{n}") for n in range(5)))
    await memberships.join("g", "another")
    assert broker.asked == [("join", "g")]
    assert list(memberships) == ["g"]
    assert "g" in memberships
    assert len(memberships) == 1
    assert broker.local.count_members("g") == 6


async def test_a_channel_is_a_member_when_the_broker_has_made_the_process_one(broker, memberships):
    broker.held = asyncio.Event()
    joining = asyncio.create_task(memberships.join("g", "channel"))
    await until(lambda: broker.asked)
    assert "g" in memberships
    assert not broker.local.is_member("g", "channel")
    broker.held.set()
    await joining
    assert broker.local.is_member("g", "channel")


async def test_one_more_channel_catches_up_first():
    broker = Broker(catches_up=True)
    for channel in ("first", "second", "second"):
        await broker.memberships.join("g", channel)
    assert broker.asked == [("join", "g"), ("catch up", "g")], "and none that is a member"


async def test_every_caller_is_told_why_it_cannot_join(broker, memberships):
    broker.error = BrokerError("no group")
    results = await asyncio.gather(
        *(memberships.join("g", f"channel-{n}") for n in range(3)), return_exceptions=True
    )
    assert results == [broker.error] * 3
    assert list(memberships) == []
    assert not broker.local.has_members("g")
    assert broker.asked == [("join", "g"), ("leave", "g")], "as it may have been done nevertheless"
    broker.error = None
    await memberships.join("g", "channel")
    assert broker.members == {"g"}


async def test_a_caller_that_gives_up_takes_no_other_along(broker, memberships):
    broker.held = asyncio.Event()
    first, second = (asyncio.create_task(memberships.join("g", n)) for n in ("first", "second"))
    await until(lambda: broker.asked)
    first.cancel()
    await asyncio.wait((first,))
    broker.held.set()
    await second
    assert first.cancelled()
    assert not broker.local.is_member("g", "first")
    assert broker.asked == [("join", "g")]


async def test_callers_that_all_give_up_leave_nothing_behind(broker, memberships):
    for turns in range(6):
        joining = asyncio.create_task(memberships.join("g", "channel"))
        for _ in range(turns):
            await asyncio.sleep(0)
        joining.cancel()
        await asyncio.wait((joining,))
        if joining.cancelled():
            await until(lambda: list(memberships) == [])
            await until(lambda: broker.members == set())
        else:
            await memberships.part("g", "channel")
    assert not broker.local.has_members("g")


async def test_a_group_that_a_channel_is_about_to_join_is_not_left(broker, memberships):
    await memberships.join("g", "first")
    broker.held = asyncio.Event()
    await memberships.join("g", "second")  # which needs nothing of the broker
    memberships.clear()
    joining = asyncio.create_task(memberships.join("g", "third"))
    await until(lambda: broker.asked[1:])
    for channel in ("first", "second"):
        await memberships.part("g", channel)
    broker.held.set()
    await joining
    assert broker.asked == [("join", "g")] * 2
    assert broker.local.is_member("g", "third")


async def test_a_channel_joins_again_if_everything_was_forgotten_meanwhile(broker, memberships):
    broker.held = asyncio.Event()
    joining = asyncio.create_task(memberships.join("g", "channel"))
    await until(lambda: broker.asked)
    memberships.clear()
    broker.held.set()
    await joining
    assert broker.asked == [("join", "g")] * 2
    assert "g" in memberships


async def test_nobody_joins_a_layer_that_was_closed_meanwhile(broker, memberships):
    broker.held = asyncio.Event()
    joining = asyncio.create_task(memberships.join("g", "channel"))
    await until(lambda: broker.asked)
    memberships.leave_all()
    broker.held.set()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await joining
    assert broker.asked == [("join", "g"), ("leave", "g")]
    assert not broker.local.has_members("g")
    await memberships.join("g", "channel")
    assert broker.members == {"g"}, "it can be used again"


# Leaving


async def test_the_process_leaves_with_its_last_member(broker, memberships):
    for channel in ("first", "second"):
        await memberships.join("g", channel)
    await memberships.part("g", "first")
    assert broker.members == {"g"}
    await memberships.part("g", "second")
    assert broker.members == set()
    assert list(memberships) == []
    await memberships.part("g", "second")
    assert broker.asked == [("join", "g"), ("leave", "g")]


async def test_a_leave_that_the_broker_does_not_confirm_is_not_waited_for():
    broker = Broker(tells_left=False)
    await broker.memberships.join("g", "channel")
    await broker.memberships.part("g", "channel")
    assert broker.members == set()


async def test_a_caller_is_told_that_the_process_could_not_leave(broker, memberships):
    await memberships.join("g", "channel")
    broker.error = BrokerError("not now")
    with pytest.raises(BrokerError, match="not now"):
        await memberships.part("g", "channel")


async def test_groups_that_are_emptied_at_once_are_left_in_one_go(broker, memberships):
    for n in range(100):
        await memberships.join(f"g{n}", "channel")
    broker.calls = calls = []

    def part_from_all():
        for group in memberships:
            broker.local.part(group, "channel")

    thread = threading.Thread(target=part_from_all)
    thread.start()
    thread.join()
    assert len(calls) == 1
    assert len(broker.members) == 100
    calls[0]()
    assert broker.members == set()
    memberships.emptied("another")
    assert len(calls) == 2, "what comes later is told again"


async def test_a_group_that_filled_again_meanwhile_is_kept(broker, memberships):
    await memberships.join("g", "first")
    broker.local.part("g", "first")
    await memberships.join("g", "second")
    await asyncio.sleep(0)  # the turn in which the group would be left
    assert broker.asked == [("join", "g")]


async def test_only_what_was_joined_is_left(broker, memberships):
    for group in ("left", "kept"):
        await memberships.join(group, "channel")
    broker.local.part("left", "channel")
    for group in ("kept", "never joined", "left"):
        memberships.emptied(group)
    (left,) = memberships.leave_emptied()
    await left
    assert broker.members == {"kept"}
    assert memberships.leave_emptied() == []


async def test_the_broker_sees_joins_and_leaves_in_the_order_asked_for(broker, memberships):
    for _ in range(10):
        broker.asked.clear()
        await memberships.join("g", "first")
        await asyncio.gather(memberships.part("g", "first"), memberships.join("g", "second"))
        assert broker.members == {"g"}
        await memberships.part("g", "second")
    assert broker.members == set()


async def test_what_is_left_before_it_was_joined_is_not_joined(broker, memberships):
    memberships.start_joining("g")
    memberships.emptied("g")
    memberships.leave_emptied()
    for _ in range(3):
        await asyncio.sleep(0)
    assert broker.members == set()
    assert list(memberships) == []


# The whole


async def test_all_groups_are_left_in_the_end(broker, memberships):
    for n in range(3):
        await memberships.join(f"g{n}", "channel")
    memberships.leave_all()
    assert broker.members == set()
    assert list(memberships) == []


async def test_clear_forgets_all_and_the_broker_is_told_nothing(broker, memberships):
    await memberships.join("g", "channel")
    memberships.emptied("g")
    memberships.clear()
    assert list(memberships) == []
    assert broker.members == {"g"}
    await memberships.join("g", "channel")
    assert memberships.leave_emptied() == []


async def test_groups_can_be_left_while_they_are_gone_through(broker, memberships):
    for n in range(3):
        await memberships.join(f"g{n}", "channel")
    for group in memberships:
        await memberships.part(group, "channel")
    assert list(memberships) == []


async def test_what_the_broker_forgot_is_what_it_had_been_told(broker, memberships):
    await memberships.join("joined", "channel")
    broker.held = asyncio.Event()
    memberships.start_joining("about to be")
    groups = ["joined", "about to be", "unknown"]
    assert memberships.forgotten(groups) == {"joined"}
    broker.held.set()


async def test_another_event_loop_takes_over_what_is_joined_and_what_is_to_be_left(
    broker, memberships
):
    await memberships.join("kept", "channel")
    await memberships.join("left", "channel")
    broker.calls = []  # as of a loop that has ended
    broker.local.part("left", "channel")
    broker.held = asyncio.Event()
    memberships.start_joining("about to be")
    broker.local.join("about to be", "channel")
    memberships.take_over()
    assert memberships.forgotten(["about to be"]) == {"about to be"}, "it is joined with the rest"
    await until(lambda: broker.members == {"kept"})
    broker.error = BrokerError("on the loop that has ended")
    broker.held.set()
    await asyncio.sleep(0)
    assert sorted(memberships) == ["about to be", "kept"]
