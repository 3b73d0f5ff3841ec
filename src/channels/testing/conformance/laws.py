"""Laws, tried on messages and histories that hypothesis makes up."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .base import Layer, LayerHarness, check_equal, extends

__all__ = ["LawTests"]

T = TypeVar("T")

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
_keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def _messages(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
        max_leaves=12,
    )
    fields = st.dictionaries(_keys, values, max_size=4)
    return fields.map(lambda message: {**message, "type": "conformance.law"})


# What happens to a process-local channel, a named channel and one group, step by step.
_ACTIONS = ["send", "receive", "join", "leave", "group_send"]
_histories = st.lists(
    st.tuples(st.sampled_from(_ACTIONS), st.integers(0, 1)), min_size=5, max_size=40
)


class LawTests(LayerHarness):
    """Laws that hold for every message and every history.

    Attributes:
        law_examples: how many examples each law is tried on.
    """

    law_examples: int = 50

    async def test_every_message_arrives_as_it_was_sent(self) -> None:
        async with self.layer() as layer:
            await self.try_law(lambda message: self.round_trip(layer, message), _messages(_scalars))

    async def test_every_binary_message_arrives_as_it_was_sent(self) -> None:
        async with self.layer("carries_bytes") as layer:
            binary = _messages(st.binary(max_size=20))
            await self.try_law(lambda message: self.round_trip(layer, message), binary)

    async def test_every_history_is_that_of_simple_queues(self) -> None:
        async def law(history: list[tuple[str, int]]) -> None:
            async with self.layer() as layer:
                await self.replay(layer, history)

        await self.try_law(law, _histories)

    async def round_trip(self, layer: Layer, message: dict[str, Any]) -> None:
        """Check that ``message`` arrives as it was sent."""
        await layer.send("channel", message)
        received = await self.receive(layer, "channel")
        check_equal(received, message, "a message arrives as it was sent")

    async def replay(self, layer: Layer, history: list[tuple[str, int]]) -> None:
        """Do to the layer and to a model of queues and sets what ``history`` says; compare."""
        channels = [await layer.new_channel(), "named"]
        model: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        group: set[str] = set()
        grouped = extends(layer, "groups")
        for n, (action, index) in enumerate(history):
            channel, message = channels[index], {"type": "conformance.n", "n": n}
            if action == "send":
                await layer.send(channel, message)
                model[channel].append(message)
            elif action == "receive" and model[channel]:
                received = await self.receive(layer, channel)
                check_equal(received, model[channel].popleft(), "first in, first out")
            elif action == "join" and grouped:
                await layer.group_add("group", channel)
                group.add(channel)
            elif action == "leave" and grouped:
                await layer.group_discard("group", channel)
                group.discard(channel)
            elif action == "group_send" and grouped:
                await layer.group_send("group", message)
                for member in group:
                    model[member].append(message)
        for channel in channels:
            rest = await self.drain(layer, channel)
            check_equal(rest, list(model[channel]), "what was not received is still there")

    async def try_law(
        self, law: Callable[[T], Awaitable[None]], examples: st.SearchStrategy[T]
    ) -> None:
        """Try ``law`` on many examples. Hypothesis is synchronous, so it works in a thread."""
        loop = asyncio.get_running_loop()

        async def run(example: T) -> None:
            await law(example)

        @settings(
            max_examples=self.law_examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(examples)
        def attempt(example: T) -> None:
            asyncio.run_coroutine_threadsafe(run(example), loop).result()

        await asyncio.to_thread(attempt)
