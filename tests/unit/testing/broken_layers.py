"""Layers with one defect each, and the tests of the conformance suite that must find it."""

import asyncio
import contextlib
import itertools
import json
import re
import time
import uuid

import msgspec

from channels.exceptions import ChannelFull, MessageTooLarge

from .layers import Broker, FullLayer

DEFECTS = []


def found_by(*names):
    """Register a defective layer with the names of the tests, without ``test_``, that find it."""

    def register(layer_class):
        DEFECTS.append((layer_class, [f"test_{name}" for name in names]))
        return layer_class

    return register


# Names


@found_by("valid_channel_names_work")
class RefusesDotsInChannels(FullLayer):
    channel_name_regex = re.compile(r"[a-zA-Z0-9\-_]+(![a-zA-Z0-9\-_.]*)?\Z")


@found_by("valid_group_names_work")
class RefusesDotsInGroups(FullLayer):
    group_name_regex = re.compile(r"[a-zA-Z0-9\-_]+\Z")


@found_by("invalid_channel_names_are_refused", "groups_refuse_invalid_channel_names")
class AcceptsAnyChannel(FullLayer):
    def require_valid_channel_name(self, name, receive=False):
        return True


@found_by("invalid_channel_names_are_refused", "groups_refuse_invalid_channel_names")
class AcceptsTrailingNewlines(FullLayer):
    channel_name_regex = re.compile(r"^[a-zA-Z0-9\-_.]+(![a-zA-Z0-9\-_.]*)?$")


@found_by("invalid_channel_names_are_refused")
class ReceivesFromAnything(FullLayer):
    async def receive(self, channel):
        while (data := self.take(channel)) is None:
            await asyncio.sleep(0.001)
        return self.decode(data)


@found_by("invalid_group_names_are_refused")
class AcceptsAnyGroup(FullLayer):
    def require_valid_group_name(self, name):
        return True


@found_by("invalid_group_names_are_refused")
class RefusesWithoutReason(FullLayer):
    def require_valid_group_name(self, name):
        try:
            return super().require_valid_group_name(name)
        except TypeError:
            raise TypeError from None


@found_by("new_channels_are_unique", "peers_make_different_channels")
class RepeatsNames(FullLayer):
    async def new_channel(self, prefix="specific"):
        self.count = getattr(self, "count", 0) + 1
        return f"{prefix}.repeats!{self.count % 500}"


@found_by("new_channel_names_are_process_local")
class MakesNamedChannels(FullLayer):
    async def new_channel(self, prefix="specific"):
        return (await super().new_channel(prefix)).replace("!", ".")


@found_by("new_channel_names_begin_with_the_prefix")
class IgnoresPrefix(FullLayer):
    async def new_channel(self, prefix="specific"):
        return await super().new_channel()


# Messages


@found_by("values_arrive_unaltered", "every_message_arrives_as_it_was_sent")
class TurnsFloatsIntoIntegers(FullLayer):
    def encode(self, message):
        return super().encode(_replace(message, float, int))


@found_by("values_arrive_unaltered")
class TurnsBooleansIntoIntegers(FullLayer):
    """Equal, and yet not the same."""

    def encode(self, message):
        return super().encode(_replace(message, bool, int))


@found_by("bytes_arrive_unaltered", "every_binary_message_arrives_as_it_was_sent")
class PadsBytes(FullLayer):
    def encode(self, message):
        return super().encode(_replace(message, bytes, lambda value: value + b"\0"))


@found_by("bytes_arrive_unaltered", "large_binary_messages_arrive")
class SpeaksJson(FullLayer):
    def encode(self, message):
        if not isinstance(message, dict):
            raise TypeError("A message is a dict.")
        return json.dumps(message).encode()

    def decode(self, data):
        return json.loads(data)


@found_by("values_at_the_edge_arrive_unaltered_or_are_refused")
class WrapsIntegers(FullLayer):
    def encode(self, message):
        return super().encode(_replace(message, int, lambda n: (n + 2**63) % 2**64 - 2**63))


@found_by("large_messages_arrive", "large_binary_messages_arrive")
class CarriesLittle(FullLayer):
    def encode(self, message):
        data = super().encode(message)
        if len(data) > 2**16:
            raise MessageTooLarge("More than 64 KiB.")
        return data


@found_by("what_is_no_dict_is_refused")
class CarriesAnything(FullLayer):
    def encode(self, message):
        return msgspec.msgpack.encode(message, enc_hook=repr)


@found_by(
    "what_cannot_be_encoded_is_refused_by_send", "what_cannot_be_encoded_is_refused_by_group_send"
)
class GuessesEncodings(FullLayer):
    def encode(self, message):
        return super().encode(json.loads(json.dumps(message, default=str)))


@found_by("what_cannot_be_encoded_is_refused_by_group_send")
class GroupSendSwallowsErrors(FullLayer):
    async def group_send(self, group, message):
        try:
            await super().group_send(group, message)
        except TypeError:
            if not isinstance(group, str):
                raise


@found_by("sending_does_not_change_the_message")
class WritesIntoMessages(FullLayer):
    async def send(self, channel, message):
        message["channel"] = channel
        await super().send(channel, message)


@found_by(
    "senders_do_not_share_their_message",
    "senders_to_groups_do_not_share_their_message",
    "recipients_do_not_share_their_message",
    "a_message_sent_twice_is_two_messages",
)
class SharesMessages(FullLayer):
    def encode(self, message):
        super().encode(message)
        return message

    def decode(self, data):
        return data


@found_by(
    "senders_do_not_share_their_message",
    "senders_to_groups_do_not_share_their_message",
    "recipients_do_not_share_their_message",
    "a_message_sent_twice_is_two_messages",
)
class SharesWhatIsNested(SharesMessages):
    def decode(self, data):
        return dict(data)


# Queues


@found_by(
    "messages_arrive_once_and_in_order",
    "channels_are_separate",
    "concurrent_senders_each_keep_their_order",
    "every_member_gets_every_message_once_in_order",
    "every_history_is_that_of_simple_queues",
)
class LosesOrder(FullLayer):
    def take(self, channel):
        self.broker.queues[channel].rotate(1)
        return super().take(channel)


@found_by(
    "messages_arrive_once_and_in_order",
    "concurrent_senders_each_keep_their_order",
    "each_message_goes_to_one_of_several_receivers",
    "each_message_goes_to_one_of_several_processes",
    "many_threads_lose_and_repeat_nothing",
    "every_member_gets_every_message_once_in_order",
)
class Duplicates(FullLayer):
    def put(self, channel, data):
        super().put(channel, data)
        queue = self.broker.queues[channel]
        queue.append(queue[-1])


@found_by(
    "a_waiting_receiver_gets_the_message",
    "a_waiting_member_gets_the_message",
    "receivers_of_local_channels_get_only_their_own",
)
class NeverWaits(FullLayer):
    async def receive(self, channel):
        self.require_valid_channel_name(channel)
        if (data := self.take(channel)) is None:
            raise asyncio.QueueEmpty
        return self.decode(data)


@found_by("channels_are_separate", "a_group_is_not_a_channel_of_the_same_name")
class HasOneChannel(FullLayer):
    def key(self, channel):
        return "the one"


@found_by("channels_are_separate", "receivers_of_local_channels_get_only_their_own")
class MixesLocalChannels(FullLayer):
    def key(self, channel):
        return self.non_local_name(channel)


@found_by("a_cancelled_receive_loses_nothing")
class LosesWhatItHolds(FullLayer):
    async def receive(self, channel):
        message = await super().receive(channel)
        await asyncio.sleep(0.002)
        return message


@found_by(
    "a_cancelled_receive_loses_nothing",
    "a_cancelled_receiver_takes_nothing_from_the_next",
    "closing_leaves_no_task_behind",
)
class ReceivesOn(FullLayer):
    async def receive(self, channel):
        return await asyncio.shield(super().receive(channel))


@found_by("a_cancelled_receiver_leaves_its_message_to_the_next")
class ForgetsTheNextInLine(FullLayer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.line = []

    def put(self, channel, data):
        super().put(channel, data)
        if self.line:
            self.line.pop(0).set_result(None)

    async def receive(self, channel):
        while (data := self.take(channel)) is None:
            waiter = asyncio.get_running_loop().create_future()
            self.line.append(waiter)
            await waiter
        return self.decode(data)


# Limits


@found_by(
    "a_full_channel_refuses_messages",
    "a_full_channel_accepts_again_once_read",
    "a_full_channel_is_full_alone",
    "channel_capacity_overrides_capacity",
    "expired_messages_make_room",
)
class NeverFull(FullLayer):
    def get_capacity(self, channel):
        return 1_000_000


@found_by("a_full_channel_refuses_messages")
class AcceptsAndDrops(FullLayer):
    def put(self, channel, data):
        self.place(channel, data) if self.full(channel) else super().put(channel, data)

    def full(self, channel):
        return len(self.broker.queues[channel]) >= self.get_capacity(channel)

    def place(self, channel, data):
        if not self.full(channel):
            self.put(channel, data)


@found_by("a_full_channel_refuses_messages")
class DropsOldest(FullLayer):
    def put(self, channel, data):
        try:
            super().put(channel, data)
        except ChannelFull:
            self.broker.queues[channel].popleft()
            super().put(channel, data)
            raise


@found_by("a_full_channel_accepts_again_once_read")
class StaysFull(FullLayer):
    def put(self, channel, data):
        if self.statistics.sent >= self.get_capacity(channel):
            raise ChannelFull("Once full, always full.")
        super().put(channel, data)


@found_by("a_full_channel_is_full_alone")
class SharesCapacity(FullLayer):
    def put(self, channel, data):
        if self.statistics.pending >= self.capacity:
            raise ChannelFull("All channels together are full.")
        super().put(channel, data)


@found_by("channel_capacity_overrides_capacity")
class IgnoresChannelCapacity(FullLayer):
    def get_capacity(self, channel):
        return self.capacity


@found_by("a_group_send_never_fails")
class GroupSendRaises(FullLayer):
    def place(self, channel, data):
        self.put(channel, data)


@found_by("a_group_send_never_fails")
class GroupSendStopsAtTheFull(FullLayer):
    async def group_send(self, group, message):
        data = self.encode(message)
        try:
            for channel in self.members(group):
                self.put(channel, data)
        except ChannelFull:
            pass


@found_by("a_group_send_never_fails")
class DropsUncounted(FullLayer):
    def place(self, channel, data):
        with contextlib.suppress(ChannelFull):
            self.put(channel, data)


@found_by("a_full_channel_refuses_messages", "a_group_send_never_fails", "unread_messages_expire")
class CountsDeliveriesTwice(FullLayer):
    def take(self, channel):
        data = super().take(channel)
        self.statistics.delivered += data is not None
        return data


@found_by("unread_messages_expire", "group_messages_expire", "expired_messages_make_room")
class NeverExpires(FullLayer):
    def expire(self, queue):
        pass


@found_by("expired_messages_make_room")
class ExpiresOnlyWhenRead(FullLayer):
    def put(self, channel, data):
        queue = self.broker.queues[channel]
        if len(queue) >= self.get_capacity(channel):
            raise ChannelFull(f"{channel} is full.")
        queue.append((time.monotonic() + self.expiry, data))
        self.statistics.sent += 1


@found_by("unread_messages_expire")
class ExpiresUncounted(FullLayer):
    def expire(self, queue):
        while queue and queue[0][0] <= time.monotonic():
            queue.popleft()


# Groups


@found_by("every_member_gets_every_message_once_in_order", "a_group_spans_processes")
class SkipsAMember(FullLayer):
    def members(self, group):
        members = super().members(group)
        return members if len(members) == 1 else members[:-1]


@found_by("named_channels_can_be_members")
class KnowsOnlyLocalMembers(FullLayer):
    def members(self, group):
        return [channel for channel in super().members(group) if "!" in channel]


@found_by("joining_twice_is_joining_once")
class CountsJoins(FullLayer):
    async def group_add(self, group, channel):
        count = self.broker.groups[group].get(channel, 0)
        await super().group_add(group, channel)
        self.broker.groups[group][channel] = count + 1

    async def group_discard(self, group, channel):
        self.broker.groups[group][channel] -= 1

    def members(self, group):
        return [channel for channel, n in self.broker.groups[group].items() if n > 0]


@found_by(
    "who_left_gets_nothing_and_the_others_all",
    "sending_to_nobody_is_no_error",
    "groups_are_separate",
    "joining_twice_is_joining_once",
    "who_left_gets_nothing_from_a_peer",
    "every_history_is_that_of_simple_queues",
)
class NeverLetsGo(FullLayer):
    async def group_discard(self, group, channel):
        self.require_valid_group_name(group)


@found_by("who_left_gets_nothing_and_the_others_all", "leaving_is_idempotent")
class DissolvesGroups(FullLayer):
    async def group_discard(self, group, channel):
        self.broker.groups.pop(group, None)


@found_by("leaving_keeps_what_has_arrived")
class ForgetsWhoLeft(FullLayer):
    async def group_discard(self, group, channel):
        await super().group_discard(group, channel)
        self.broker.queues[channel].clear()


@found_by("who_joins_late_gets_only_what_follows", "sending_to_nobody_is_no_error")
class KeepsHistory(FullLayer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.history = {}

    async def group_send(self, group, message):
        await super().group_send(group, message)
        self.history.setdefault(group, []).append(message)

    async def group_add(self, group, channel):
        await super().group_add(group, channel)
        for message in self.history.get(group, ()):
            await self.send(channel, message)


@found_by("joining_again_works")
class BansWhoLeft(FullLayer):
    async def group_discard(self, group, channel):
        self.broker.groups[group][channel] = False

    async def group_add(self, group, channel):
        self.broker.groups[group].setdefault(channel, True)

    def members(self, group):
        return [channel for channel, member in self.broker.groups[group].items() if member]


@found_by("leaving_is_idempotent")
class DemandsMembership(FullLayer):
    async def group_discard(self, group, channel):
        del self.broker.groups[group][channel]


@found_by("sending_to_nobody_is_no_error")
class DemandsGroups(FullLayer):
    def members(self, group):
        if not self.broker.groups.get(group):
            raise LookupError(f"No group {group}.")
        return super().members(group)


@found_by("groups_are_separate")
class HasOneGroup(FullLayer):
    def members(self, group):
        return [channel for members in self.broker.groups.values() for channel in members]


@found_by("a_group_is_not_a_channel_of_the_same_name")
class SendsToTheNamesakeToo(FullLayer):
    def members(self, group):
        return [group, *super().members(group)]


@found_by("all_members_see_one_order")
class HasNoCommonOrder(FullLayer):
    """Each member's copies take ways of different length."""

    async def group_send(self, group, message):
        data = self.encode(message)
        for number, channel in enumerate(self.members(group)):
            self.place(channel, data)
            if (message.get("sender", 0) + number) % 2:
                await asyncio.sleep(0)


@found_by("a_thousand_members")
class HasRoomForFew(FullLayer):
    def members(self, group):
        return super().members(group)[:500]


# Threads, loops, the end


@found_by(
    "a_send_from_a_thread_wakes_a_receiver",
    "a_group_send_from_a_thread_wakes_a_receiver",
    "a_receiver_on_another_running_loop_is_woken",
)
class WakesOnlyItsOwnLoop(FullLayer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiters = {}

    def put(self, channel, data):
        super().put(channel, data)
        if waiter := self.waiters.pop(channel, None):
            waiter.set_result(None)

    async def receive(self, channel):
        while (data := self.take(channel)) is None:
            self.waiters[channel] = asyncio.get_running_loop().create_future()
            await self.waiters[channel]
        return self.decode(data)


@found_by("event_loops_one_after_another", "synchronous_code_has_a_new_loop_for_each_call")
class StaysOnItsFirstLoop(FullLayer):
    async def receive(self, channel):
        self.lock = getattr(self, "lock", None) or asyncio.Queue()
        waiter = asyncio.ensure_future(self.lock.get())
        await asyncio.sleep(0)
        try:
            if waiter.done():
                waiter.result()
            return await super().receive(channel)
        finally:
            waiter.cancel()


@found_by("synchronous_code_has_a_new_loop_for_each_call")
class KeepsQueuesPerLoop(FullLayer):
    def key(self, channel):
        return channel, id(asyncio.get_running_loop()), next(_loops)


_loops = itertools.count()


@found_by("flush_forgets_messages_and_groups")
class FlushesNothing(FullLayer):
    async def flush(self):
        pass


@found_by("flush_forgets_messages_and_groups")
class FlushesOnlyMessages(FullLayer):
    async def flush(self):
        self.broker.queues.clear()


@found_by("flush_forgets_messages_and_groups")
class FlushesOnlyGroups(FullLayer):
    async def flush(self):
        self.broker.groups.clear()


@found_by("a_flushed_layer_works", "flush_forgets_messages_and_groups")
class BreaksWhenFlushed(FullLayer):
    async def flush(self):
        self.broker = None


@found_by("closing_leaves_no_task_behind")
class LeavesATask(FullLayer):
    async def new_channel(self, prefix="specific"):
        self.task = asyncio.create_task(asyncio.sleep(60))
        return await super().new_channel(prefix)


@found_by("closing_twice_is_closing_once")
class ClosesOnce(FullLayer):
    async def aclose(self):
        if self.broker is None:
            raise RuntimeError("Closed already.")
        self.broker = None


# Several processes


@found_by(
    "a_peer_reaches_a_process_local_channel",
    "a_named_channel_is_shared",
    "a_group_spans_processes",
    "who_left_gets_nothing_from_a_peer",
    "what_waits_in_a_named_channel_outlives_the_layer",
    "receivers_survive_a_restart_of_the_broker",
)
class StaysAlone(FullLayer):
    def __init__(self, broker=None, **config):
        super().__init__(Broker(), **config)


@found_by("what_waits_in_a_named_channel_outlives_the_layer")
class TakesItsMessagesAlong(FullLayer):
    async def aclose(self):
        self.broker.queues.clear()


@found_by("receivers_survive_a_restart_of_the_broker")
class DiesWithItsConnection(FullLayer):
    def take(self, channel):
        if self.broker.restarts:
            raise ConnectionError("The broker has gone.")
        return super().take(channel)


@found_by("receivers_survive_a_restart_of_the_broker")
class IsDeafAfterARestart(FullLayer):
    def take(self, channel):
        return None if self.broker.restarts else super().take(channel)


# States


@found_by("a_state_is_read_as_it_was_set")
class KeepsStatesAsTheyAre(FullLayer):
    """And those that are not dicts it refuses."""

    def encode(self, message):
        super().encode(message)
        return message

    def decode(self, data):
        return data


@found_by("what_was_never_set_is_not_there")
class HasOneCollection(FullLayer):
    async def set_state(self, collection, field, value, expiry, *, revision=None):
        return await super().set_state("all", field, value, expiry, revision=revision)

    async def get_states(self, collection):
        return await super().get_states("all")


@found_by("a_deleted_state_is_gone")
class DeletesNoState(FullLayer):
    async def delete_state(self, collection, field):
        pass


@found_by("states_expire")
class KeepsStatesForEver(FullLayer):
    async def set_state(self, collection, field, value, expiry, *, revision=None):
        expiry = expiry and 3600
        return await super().set_state(collection, field, value, expiry, revision=revision)


@found_by("a_full_collection_drops_what_would_expire_first")
class KeepsAnyNumberOfStates(FullLayer):
    @property
    def state_capacity(self):
        return 1000

    @state_capacity.setter
    def state_capacity(self, capacity):
        pass


@found_by("flush_forgets_states")
class FlushesNoStates(FullLayer):
    async def flush(self):
        self.broker.queues.clear()
        self.broker.groups.clear()


@found_by("what_cannot_be_a_state_is_refused")
class TakesAnyFieldForAState(FullLayer):
    def require_valid_state_name(self, collection, field=None):
        super().require_valid_state_name(collection)


@found_by("every_state_is_read_by_a_peer", "the_newest_revision_of_each_state_stays")
class IgnoresRevisions(FullLayer):
    async def set_state(self, collection, field, value, expiry, *, revision=None):
        return await super().set_state(collection, field, value, expiry)


def _replace(value, kind, convert):
    """``value`` with everything of exactly the type ``kind`` converted."""
    if type(value) is kind:
        return convert(value)
    if isinstance(value, dict):
        return {key: _replace(item, kind, convert) for key, item in value.items()}
    if isinstance(value, list) and value and value[0] is not value:
        return [_replace(item, kind, convert) for item in value]
    return value


# Later


@found_by("a_message_comes_at_its_time", "a_cancelled_message_is_not_sent")
class SendsLaterAtOnce(FullLayer):
    async def send_later(self, channel, message, *, delay=None, at=None):
        handle = await super().send_later(channel, message, delay=delay, at=at)
        self.broker.scheduled[handle] = (0, *self.broker.scheduled[handle][1:])
        self.send_due()
        return handle


@found_by("a_group_is_sent_to_as_it_is_then")
class KnowsMembersBefore(FullLayer):
    async def group_send_later(self, group, message, *, delay=None, at=None):
        handles = [await self.send_later(c, message, delay=delay) for c in self.members(group)]
        return handles[0]


@found_by("a_periodic_message_is_sent_once_each_period")
class RepeatsEachRegistration(FullLayer):
    async def send_every(self, seconds, channel, message, *, name):
        await super().send_every(seconds, channel, message, name=f"{name}{uuid.uuid4().hex}")


@found_by("what_cannot_be_scheduled_is_refused_at_once")
class SchedulesAnything(FullLayer):
    async def send_later(self, channel, message, *, delay=None, at=None):
        return await super().send_later(channel, message, delay=1)


@found_by("what_is_scheduled_outlives_its_sender")
class ForgetsWhatItsProcessScheduled(FullLayer):
    async def aclose(self):
        self.broker.scheduled.clear()


# Limits


@found_by("a_bucket_is_empty_after_its_burst_and_fills_again")
class GivesTokensForEver(FullLayer):
    async def take_tokens(self, key, *, rate, burst, **options):
        return await super().take_tokens(key, rate=1e9, burst=burst, **options)


@found_by("as_many_tokens_are_taken_as_there_are")
class TakesTheLeastTokens(FullLayer):
    async def take_tokens(self, key, *, most=None, **options):
        return await super().take_tokens(key, **options)


@found_by("what_is_no_bucket_is_refused", "what_is_no_place_is_refused")
class TakesAnyBucketAndPlace(FullLayer):
    def require_valid_bucket(self, key, rate, burst):
        pass

    def require_valid_place(self, name):
        pass


@found_by("processes_together_take_no_more_tokens_than_there_are")
class KeepsBucketsToItself(FullLayer):
    async def take_tokens(self, key, **options):
        return await super().take_tokens(f"{key}{self.process}", **options)


@found_by("processes_together_hold_no_more_places_than_there_may_be")
class KeepsPlacesToItself(FullLayer):
    def held(self, name):
        return self.broker.places[self.process][name]


@found_by("a_place_that_was_added_unasked_counts")
class CountsOnlyWhatWasAsked(FullLayer):
    def add_places(self, names):
        pass


@found_by("places_of_a_layer_that_was_closed_are_free")
class HoldsPlacesForEver(FullLayer):
    async def aclose(self):
        pass
