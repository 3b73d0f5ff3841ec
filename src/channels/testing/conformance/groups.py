"""Groups: every member once, in one order, and only as long as it is a member."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio

from .base import Layer, LayerHarness, Message, check_equal

__all__ = ["GroupTests"]

_NEWS = {"type": "conformance.news"}


class GroupTests(LayerHarness):
    """Group membership and group messages. Skipped for a layer without the groups extension."""

    async def test_every_member_gets_every_message_once_in_order(self) -> None:
        async with self.layer("groups") as layer:
            channels = await self.members(layer, "group", 3)
            messages = [{"type": "conformance.n", "n": n} for n in range(20)]
            for message in messages:
                await layer.group_send("group", message)
            for channel in channels:
                received = await self.drain(layer, channel)
                check_equal(received, messages, "each member gets all messages, once, in order")

    async def test_a_waiting_member_gets_the_message(self) -> None:
        async with self.layer("groups") as layer:
            (channel,) = await self.members(layer, "group", 1)
            receiver = asyncio.create_task(self.receive(layer, channel))
            await asyncio.sleep(0)
            await layer.group_send("group", _NEWS)
            check_equal(await receiver, _NEWS, "a member that waits receives")

    async def test_named_channels_can_be_members(self) -> None:
        async with self.layer("groups") as layer:
            await layer.group_add("group", "named")
            await layer.group_send("group", _NEWS)
            check_equal(await self.drain(layer, "named"), [_NEWS], "a named channel is a member")

    async def test_joining_twice_is_joining_once(self) -> None:
        async with self.layer("groups") as layer:
            (channel,) = await self.members(layer, "group", 1)
            await layer.group_add("group", channel)
            await layer.group_send("group", _NEWS)
            check_equal(await self.drain(layer, channel), [_NEWS], "a member gets one copy")
            await layer.group_discard("group", channel)
            await layer.group_send("group", _NEWS)
            check_equal(await self.drain(layer, channel), [], "leaving once is enough")

    async def test_who_left_gets_nothing_and_the_others_all(self) -> None:
        async with self.layer("groups") as layer:
            left, stayed = await self.members(layer, "group", 2)
            await layer.group_discard("group", left)
            await layer.group_send("group", _NEWS)
            check_equal(await self.drain(layer, stayed), [_NEWS], "the others stay members")
            check_equal(
                await self.drain(layer, left),
                [],
                "a channel that left the group gets no more messages",
            )

    async def test_leaving_keeps_what_has_arrived(self) -> None:
        async with self.layer("groups") as layer:
            (channel,) = await self.members(layer, "group", 1)
            await layer.group_send("group", _NEWS)
            await layer.group_discard("group", channel)
            check_equal(await self.drain(layer, channel), [_NEWS], "what was sent before arrives")

    async def test_who_joins_late_gets_only_what_follows(self) -> None:
        async with self.layer("groups") as layer:
            await self.members(layer, "group", 1)
            await layer.group_send("group", {"type": "conformance.before"})
            (late,) = await self.members(layer, "group", 1)
            await layer.group_send("group", _NEWS)
            check_equal(await self.drain(layer, late), [_NEWS], "a group has no history")

    async def test_joining_again_works(self) -> None:
        async with self.layer("groups") as layer:
            (channel,) = await self.members(layer, "group", 1)
            await layer.group_discard("group", channel)
            await layer.group_add("group", channel)
            await layer.group_send("group", _NEWS)
            check_equal(
                await self.drain(layer, channel), [_NEWS], "a channel that joins again is a member"
            )

    async def test_leaving_is_idempotent(self) -> None:
        async with self.layer("groups") as layer:
            (member,) = await self.members(layer, "group", 1)
            stranger = await layer.new_channel()
            await layer.group_discard("group", stranger)
            await layer.group_discard("nowhere", stranger)
            await layer.group_discard("group", stranger)
            await layer.group_send("group", _NEWS)
            check_equal(await self.drain(layer, member), [_NEWS], "the member stays")
            await layer.group_discard("group", member)
            await layer.group_discard("group", member)

    async def test_sending_to_nobody_is_no_error(self) -> None:
        async with self.layer("groups") as layer:
            await layer.group_send("never-existed", _NEWS)
            (channel,) = await self.members(layer, "emptied", 1)
            await layer.group_discard("emptied", channel)
            await layer.group_send("emptied", _NEWS)
            await layer.group_add("emptied", channel)
            check_equal(await self.drain(layer, channel), [], "an empty group keeps no messages")

    async def test_groups_are_separate(self) -> None:
        async with self.layer("groups") as layer:
            (only_first,) = await self.members(layer, "first", 1)
            (both,) = await self.members(layer, "first", 1)
            await layer.group_add("second", both)
            first: Message = {"type": "conformance.news", "to": "first"}
            second: Message = {"type": "conformance.news", "to": "second"}
            await layer.group_send("first", first)
            await layer.group_send("second", second)
            check_equal(await self.drain(layer, only_first), [first], "groups do not mix")
            # Of the messages of two groups, either may be first.
            got = sorted(await self.drain(layer, both), key=lambda message: message["to"])
            check_equal(got, [first, second], "a member of both gets both")
            await layer.group_discard("first", both)
            await layer.group_send("first", first)
            await layer.group_send("second", second)
            check_equal(await self.drain(layer, both), [second], "leaving one group leaves one")

    async def test_a_group_is_not_a_channel_of_the_same_name(self) -> None:
        async with self.layer("groups") as layer:
            (channel,) = await self.members(layer, "name", 1)
            await layer.group_send("name", _NEWS)
            await layer.send("name", {"type": "conformance.direct"})
            direct = [{"type": "conformance.direct"}]
            check_equal(await self.drain(layer, "name"), direct, "a channel gets no group messages")
            check_equal(await self.drain(layer, channel), [_NEWS], "a group no channel messages")

    async def test_all_members_see_one_order(self) -> None:
        async with self.layer("groups", "orders_groups") as layer:
            channels = await self.members(layer, "group", 5)

            async def send_all(sender: int) -> None:
                for n in range(10):
                    message = {"type": "conformance.n", "sender": sender, "n": n}
                    await layer.group_send("group", message)
                    await asyncio.sleep(0)

            await asyncio.gather(*(send_all(sender) for sender in range(4)))
            seen = [await self.receive_many(layer, channel, 40) for channel in channels]
            for one in seen:
                check_equal(one, seen[0], "all members see the messages in the same order")
                for sender in range(4):
                    own = [message["n"] for message in one if message["sender"] == sender]
                    check_equal(own, list(range(10)), "each sender's order is kept")

    async def test_a_thousand_members(self) -> None:
        async with self.layer("groups") as layer:
            channels = await self.members(layer, "group", 1000)
            await layer.group_send("group", _NEWS)
            await layer.group_send("group", {"type": "conformance.last"})
            expected = [_NEWS, {"type": "conformance.last"}]
            for channel in channels:
                received = await self.receive_many(layer, channel, 2)
                check_equal(received, expected, "each of a thousand members gets each message")

    async def members(self, layer: Layer, group: str, count: int) -> list[str]:
        """Make new channels that are members of ``group``."""
        channels = [await layer.new_channel() for _ in range(count)]
        for channel in channels:
            await layer.group_add(group, channel)
        return channels
