"""The conformance suite passes on sound layers, and each of its tests fails on a defective one."""

import asyncio
import time
from unittest import SkipTest

import pytest
from django.test import SimpleTestCase

from channels.layers import InMemoryChannelLayer
from channels.testing.conformance import LayerConformance, LayerHarness
from channels.testing.conformance.delayed import DelayedTests
from channels.testing.conformance.laws import LawTests
from channels.testing.conformance.messages import MessageTests
from channels.testing.conformance.queues import QueueTests
from channels.testing.conformance.sharing import SharingTests
from channels.testing.conformance.states import StateTests

from . import layers
from .broken_layers import DEFECTS

FEW = 15  # examples of each law, for layers that are known to be sound


class TestMinimalLayer(layers.Hooks, LayerConformance):
    """Under pytest-asyncio; a third party's layer needs no more than this."""


class DjangoTests(layers.Hooks, LayerConformance, SimpleTestCase):
    """Under Django's test runner, which wraps each test in async_to_sync()."""

    layer_class = layers.FullLayer


def test_minimal_layer_skips_only_what_it_does_not_do():
    failed, skipped = layers.run(layers.MinimalLayer, law_examples=FEW)
    assert not failed
    flushes = {"test_flush_forgets_messages_and_groups", "test_a_flushed_layer_works"}
    states = {name for name in dir(StateTests) if name.startswith("test_")}
    later = {name for name in dir(DelayedTests) if name.startswith("test_")}
    shared = {name for name in vars(SharingTests) if name.startswith("test_")}
    rest = states - {name for name in dir(LawTests) if name in states}
    assert skipped == flushes | later | shared | rest


def test_full_layer_skips_nothing():
    assert layers.run(layers.FullLayer, law_examples=FEW) == (set(), set())


@pytest.mark.parametrize(
    ("layer_class", "names"), DEFECTS, ids=[layer_class.__name__ for layer_class, _ in DEFECTS]
)
def test_defect_is_found(layer_class, names):
    failed, skipped = layers.run(layer_class, names, deadline=0.4)
    # On a machine that is busy the short deadline may fail one more of them.
    assert failed >= set(names)
    assert not skipped


def test_every_test_of_the_suite_finds_a_defect():
    found = {name for _, names in DEFECTS for name in names}
    assert found == set(layers.TEST_NAMES)


@pytest.mark.parametrize(
    ("attributes", "skipped"),
    [
        ({"takes_prefix": False}, {"test_new_channel_names_begin_with_the_prefix"}),
        ({"carries_bytes": False}, {"test_bytes_arrive_unaltered"}),
        ({"enforces_capacity": False}, {"test_a_full_channel_refuses_messages"}),
        ({"expires_messages": False}, {"test_unread_messages_expire"}),
        ({"orders_groups": False}, {"test_all_members_see_one_order"}),
        ({"serves_threads": False}, {"test_a_send_from_a_thread_wakes_a_receiver"}),
        ({"outlives_event_loops": False}, {"test_event_loops_one_after_another"}),
        (
            {"keeps_named_channels": False},
            {"test_what_waits_in_a_named_channel_outlives_the_layer"},
        ),
        ({"make_peer": LayerHarness.make_peer}, {"test_a_named_channel_is_shared"}),
        (
            {"restart_broker": LayerHarness.restart_broker},
            {"test_receivers_survive_a_restart_of_the_broker"},
        ),
    ],
)
def test_capability_that_a_layer_lacks_is_skipped(attributes, skipped):
    assert layers.run(layers.FullLayer, skipped, **attributes) == (set(), skipped)


@pytest.mark.parametrize("slow", [0, 1, 2, 3])
def test_messages_get_longer_to_live_on_a_machine_that_is_slow(slow):
    name, attempts = "test_group_messages_expire", []

    class OnASlowMachine(layers.FullLayer):
        def __init__(self, expiry):
            super().__init__(expiry=expiry)
            attempts.append(expiry)

        async def receive(self, channel):
            if len(attempts) <= slow:
                await asyncio.sleep(1.1 * attempts[-1])
            return await super().receive(channel)

    failed, _ = layers.run(OnASlowMachine, [name], short_expiry=0.1, deadline=0.5)
    assert failed == ({name} if slow == 3 else set())
    assert attempts[: slow + 1] == [0.1, 0.2, 0.4][: slow + 1]


def test_layer_without_extensions_skips_their_tests():
    class WithoutExtensions:
        """Not even a BaseChannelLayer."""

        def __init__(self, **config):
            layer = layers.MinimalLayer(**config)
            self.send, self.receive = layer.send, layer.receive
            self.new_channel, self.broker = layer.new_channel, layer.broker

    failed, skipped = layers.run(WithoutExtensions, law_examples=FEW)
    assert not failed
    assert "test_groups_are_separate" in skipped
    assert "test_every_history_is_that_of_simple_queues" not in skipped


def test_flush_is_tested_without_groups():
    class WithoutGroups(layers.FullLayer):
        extensions = ("flush",)

        async def group_add(self, group, channel):
            raise NotImplementedError

        async def group_send(self, group, message):
            raise NotImplementedError

    class FlushesNothing(WithoutGroups):
        async def flush(self):
            pass

    name = "test_flush_forgets_messages_and_groups"
    assert layers.run(WithoutGroups, [name]) == (set(), set())
    assert layers.run(FlushesNothing, [name]) == ({name}, set())


def test_a_send_that_fails_while_the_broker_restarts_is_repeated():
    class RefusesOnce(layers.FullLayer):
        refused = []

        async def send(self, channel, message):
            if self.broker.restarts and not self.refused:
                self.refused.append(message)
                raise ConnectionError("The broker is not back yet.")
            await super().send(channel, message)

    name = "test_receivers_survive_a_restart_of_the_broker"
    assert layers.run(RefusesOnce, [name]) == (set(), set())
    assert len(RefusesOnce.refused) == 1


class TestHarness:
    """The tools that the tests are made of."""

    async def test_make_layer_must_be_defined(self):
        with pytest.raises(NotImplementedError, match=r"must define make_layer"):
            LayerConformance().make_layer()

    async def test_synchronous_close_will_do(self):
        class Closable:
            closed = False

            def close(self):
                self.closed = True

        layer = Closable()
        await LayerConformance().close_layer(layer)
        assert layer.closed

    async def test_layer_is_closed_when_a_test_is_skipped(self):
        class Closing(layers.FullLayer):
            closed = False

            async def aclose(self):
                self.closed = True

        harness = layers.Hooks.__new__(type("Harness", (layers.Hooks, LayerHarness), {}))
        harness.layer_class = Closing
        layer = Closing()
        harness.make_layer = lambda: layer
        with pytest.raises(SkipTest, match="presence"):
            async with harness.layer("presence"):
                pytest.fail("must not be entered")
        assert layer.closed

    async def test_what_comes_late_fails_with_the_promise(self):
        harness = LayerConformance()
        harness.deadline = 0.01
        with pytest.raises(AssertionError, match=r"Broken promise: it happens \(waited 0\.01 s\)"):
            await harness.soon(asyncio.Event().wait(), "it happens")
        with pytest.raises(AssertionError, match="Broken promise: it comes true"):
            await harness.eventually(lambda: False, "it comes true")

    async def test_what_comes_after_the_deadline_is_late_although_no_timer_went_off(self):
        """So comes a message that did not wake its receiver: the timer did, and both are ready."""
        harness = LayerConformance()
        harness.deadline = 0.01

        async def hold_the_event_loop():
            time.sleep(2 * harness.deadline)  # no timer goes off meanwhile
            return "late"

        with pytest.raises(AssertionError, match=r"Broken promise: it happens"):
            await harness.soon(hold_the_event_loop(), "it happens")


def test_layers_that_carry_objects_refuse_fewer_of_them():
    class Objects(MessageTests):
        carries_objects = True

    assert len(Objects().unencodable()) < len(MessageTests().unencodable())


async def test_a_receiver_that_has_its_message_before_it_is_cancelled_is_no_fault():
    class Memory(QueueTests):
        def make_layer(self, **config):
            return InMemoryChannelLayer(**config)

    promise = Memory().test_a_cancelled_receiver_leaves_its_message_to_the_next
    assert await promise() is None
