"""What holds for every history of the in-memory layer, whatever was done in which order."""

import asyncio
from collections import defaultdict, deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channels import signals
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer
from channels.layers.mailbox import GAP

from .helpers import Clock, balanced, holds_nothing, in_thread, message

CAPACITY, EXPIRY, GROUP_EXPIRY = 3, 10, 45

channels = st.sampled_from(["a", "b", "c"])
groups = st.sampled_from(["g", "h"])


class Histories(RuleBasedStateMachine):
    """Anything that senders, receivers and consumers may do, with time passing between."""

    overflow = "drop_newest"
    finished = 0

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock.install(self.patch.setattr)
        self.loop = asyncio.new_event_loop()
        self.layer = InMemoryChannelLayer(
            expiry=EXPIRY, group_expiry=GROUP_EXPIRY, capacity=CAPACITY, overflow=self.overflow
        )
        self.n = 0
        self.sent_at = {}  # message -> time
        self.addressed = defaultdict(deque)  # channel -> messages sent to it, oldest first
        self.receivers = []  # (channel, task)
        self.consumers = {}  # channel -> mailbox
        self.woken = defaultdict(bool)
        self.told = defaultdict(int)
        self.missed = set()  # channels whose consumers are to be told of a gap
        self.received_from = set()  # channels
        self.late = None  # what a broker brought and found no room
        signals.message_dropped.connect(self.hear)

    def hear(self, channel, reason, count, **kwargs):
        self.told[reason] += count
        attached = channel in self.consumers and not self.consumers[channel].overflowed
        if attached and reason in ("capacity", "expired"):
            self.missed.add(channel)

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def settle(self):
        """Let everything happen that is going to."""
        for _ in range(4):
            self.run(asyncio.sleep(0))
        waiting = []
        for channel, task in self.receivers:
            if not task.done():
                waiting.append((channel, task))
            elif not task.cancelled():
                self.delivered(channel, task.result(), in_order=False)
        self.receivers = waiting

    def new_message(self):
        self.n += 1
        self.sent_at[self.n] = self.clock.seconds
        return message(self.n)

    def delivered(self, channel, received, in_order=True):
        """Check one delivery: to whom it was sent, once, not too late, and in order."""
        n = received["n"]
        line = self.addressed[channel]
        assert n in line, f"{n} came to {channel} twice, or was not for it"
        if in_order:
            while line[0] != n:
                line.popleft()
            line.popleft()
        else:  # several receivers finished together
            line.remove(n)
        assert self.clock.seconds < self.sent_at[n] + EXPIRY, f"{n} came after its time"

    # Senders

    @rule(channel=channels, thread=st.booleans())
    def send(self, channel, thread):
        sent = self.new_message()
        outcome = []

        async def attempt():
            try:
                await self.layer.send(channel, sent)
            except ChannelFull:
                outcome.append("full")

        if thread:
            in_thread(asyncio.run, attempt()).join()
        else:
            self.run(attempt())
        if outcome:
            assert self.overflow != "drop_oldest"
            assert self.layer.channels[channel].qsize() == CAPACITY
        else:
            self.addressed[channel].append(sent["n"])

    @rule(group=groups, thread=st.booleans())
    def group_send(self, group, thread):
        sent = self.new_message()
        members = set(self.layer.groups.get(group, ()))
        for channel in members:
            self.addressed[channel].append(sent["n"])
        before = self.layer.statistics.sent
        if thread:
            in_thread(asyncio.run, self.layer.group_send(group, sent)).join()
        else:
            self.run(self.layer.group_send(group, sent))
        assert self.layer.statistics.sent == before + len(members)

    @precondition(lambda self: self.late is None)
    @rule(group=groups, patience=st.sampled_from([1, EXPIRY]))
    def hand_over(self, group, patience):
        """As a layer with a broker does: later, where a consumer is to be waited for."""
        sent = self.new_message()
        members = set(self.layer.groups.get(group, ()))
        before = self.layer.statistics.sent
        entry = (self.clock.seconds + EXPIRY, lambda: dict(sent))
        self.late = self.layer.deliver_to_group(group, entry, patience)
        waiting = set() if self.late is None else {box.channel for box in self.late.mailboxes}
        assert waiting <= members & (self.consumers.keys() | self.received_from)
        assert not waiting & self.missed, "it has lost something, so it is not waited for"
        assert self.layer.statistics.sent == before + len(members) - len(waiting)
        for channel in members - waiting:
            self.addressed[channel].append(sent["n"])
        self.sent_late = sent["n"]

    @precondition(lambda self: self.late is not None)
    @rule(patiently=st.booleans())
    def come_back(self, patiently):
        waiting = {box.channel for box in self.late.mailboxes}
        if patiently:
            progress = self.late.deliver()
        else:
            self.late.settle()
            progress = True
        left = {box.channel for box in self.late.mailboxes}
        assert progress == (left < waiting) or not patiently
        for channel in waiting - left:
            self.addressed[channel].append(self.sent_late)
        if not left:
            self.late = None
        assert patiently or not left

    @rule(group=groups, channel=channels)
    def join(self, group, channel):
        self.run(self.layer.group_add(group, channel))
        assert channel in self.layer.groups[group]

    @rule(group=groups, channel=channels)
    def leave(self, group, channel):
        self.run(self.layer.group_discard(group, channel))
        assert channel not in self.layer.groups.get(group, ())

    # Receivers

    @rule(channel=channels)
    def receive(self, channel):
        self.received_from.add(channel)
        self.receivers.append((channel, self.loop.create_task(self.layer.receive(channel))))

    @precondition(lambda self: self.receivers)
    @rule(data=st.data())
    def give_up(self, data):
        _, task = data.draw(st.sampled_from(self.receivers))
        task.cancel()

    @rule()
    def let_run(self):
        self.settle()

    # Consumers

    @rule(channel=channels)
    def connect(self, channel):
        if channel in self.consumers:
            return

        def wake():
            self.woken[channel] = True

        async def open_mailbox():
            return self.layer.open_mailbox(channel, wake)

        self.consumers[channel] = self.run(open_mailbox())

    @rule(channel=channels)
    def take(self, channel):
        if channel not in self.consumers:
            return
        self.woken[channel] = False
        while (received := self.consumers[channel].take()) is not None:
            if received["type"] == GAP:
                assert channel in self.missed
                self.missed.discard(channel)
            else:
                self.delivered(channel, received)
        assert self.consumers[channel].overflowed or channel not in self.missed

    @rule(channel=channels)
    def disconnect(self, channel):
        if channel in self.consumers:
            self.run(self.consumers.pop(channel).close())
            self.woken[channel] = False
            self.missed.discard(channel)

    # All

    @rule(seconds=st.sampled_from([1, EXPIRY / 2, EXPIRY, GROUP_EXPIRY]))
    def wait(self, seconds):
        self.settle()  # what is due before must not happen late
        self.clock.advance(seconds)

    @rule()
    def flush(self):
        self.run(self.layer.flush())
        assert self.layer.statistics.pending == 0
        assert self.layer.groups == {}

    @invariant()
    def every_message_is_accounted_for(self):
        assert balanced(self.layer), self.layer.statistics

    @invariant()
    def every_drop_was_told(self):
        assert dict(self.told) == self.layer.statistics.dropped

    @invariant()
    def nobody_waits_for_what_is_there(self):
        self.settle()
        shown = self.layer.channels
        in_use = {name for name, box in shown.items() if not box.empty()} | set(self.consumers)
        assert set(shown) == in_use | {name for name, task in self.receivers if not task.done()}
        for channel, box in shown.items():
            assert box.qsize() <= CAPACITY
            if box.empty():
                continue
            if channel in self.consumers:
                assert self.woken[channel], f"the consumer of {channel} sleeps"
            assert channel not in {name for name, _ in self.receivers}, f"{channel} sleeps"

    @invariant()
    def whoever_missed_something_is_going_to_look(self):
        assert all(self.woken[channel] for channel in self.missed)

    @invariant()
    def memberships_are_the_same_from_both_sides(self):
        layer = self.layer
        pairs = {(group, name) for group, members in layer._groups.items() for name in members}
        assert pairs == {(group, name) for name, own in layer._memberships.items() for group in own}
        assert all(layer._groups.values())
        assert all(layer._memberships.values())
        assert set(layer._leases) == {pair for pair in pairs if pair[1] not in self.consumers}
        attached = {name for name, box in layer._mailboxes.items() if box.attached}
        assert attached == set(self.consumers)
        assert set(layer._unattached) == set(layer._mailboxes) - attached

    def teardown(self):
        try:
            for _, task in self.receivers:
                task.cancel()
            self.settle()
            if self.late is not None:
                self.late.settle()
            for mailbox in self.consumers.values():
                self.run(mailbox.close())
            self.clock.advance(GROUP_EXPIRY + EXPIRY)
            assert self.layer.groups == {}
            assert holds_nothing(self.layer)
            assert balanced(self.layer)
            type(self).finished += 1
        finally:
            signals.message_dropped.disconnect(self.hear)
            self.loop.close()
            self.patch.undo()


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "disconnect"])
def test_every_history_keeps_the_laws(overflow):
    machine = type("Histories", (Histories,), {"overflow": overflow})
    case = machine.TestCase
    case.settings = settings(
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
    assert machine.finished > 0
