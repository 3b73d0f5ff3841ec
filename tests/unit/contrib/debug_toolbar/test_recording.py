import asyncio
from typing import Any

import pytest

from channels.contrib.debug_toolbar.recording import Call, Recorder, recorder, watch
from channels.layers import InMemoryChannelLayer
from channels.layers.sync import SyncChannelLayer


class Layer(InMemoryChannelLayer):
    """Layers of a class of this test's own: what is watched stays so."""

    immediate = InMemoryChannelLayer.immediate

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self.send("one", message)
        await super().group_send(group, message)


@pytest.fixture
def layer() -> Layer:
    layer = Layer(channel_capacity={"tiny": 1})
    watch(layer)
    watch(layer)
    return layer


@pytest.fixture
def at_work() -> Any:
    made = Recorder(lambda: ["here"], limit=2)
    token = recorder.set(made)
    yield made
    recorder.reset(token)


async def test_a_call_is_noted_with_what_it_carries(layer: Layer, at_work: Recorder) -> None:
    await layer.group_send("g", {"type": "x"})
    (call,) = at_work.calls
    assert (call.method, call.destination, call.content) == ("group_send", "g", {"type": "x"})
    assert call.trace == ["here"]
    assert call.seconds > 0
    assert call.size() == 8


async def test_what_a_layer_calls_itself_is_not_noted(layer: Layer, at_work: Recorder) -> None:
    await layer.group_send("g", {"type": "x"})
    assert at_work.count == 1


async def test_without_a_recorder_methods_are_as_before(layer: Layer) -> None:
    await layer.send("one", {"type": "x"})
    assert await layer.receive("one") == {"type": "x"}
    assert Layer.group_send.__name__ == "group_send"
    assert asyncio.iscoroutinefunction(layer.group_send)


async def test_a_method_that_was_looked_up_before_the_request_is_noted(layer: Layer) -> None:
    send = layer.send
    made = Recorder(lambda: ["call"])
    token = recorder.set(made)
    await send("one", {"type": "x"})
    recorder.reset(token)
    assert made.calls[0].trace == ["call"]


async def test_a_method_that_was_looked_up_during_the_request_may_be_called_after_it(
    layer: Layer,
) -> None:
    made = Recorder(lambda: ["look-up"])
    token = recorder.set(made)
    send = layer.send
    recorder.reset(token)
    await send("one", {"type": "x"})
    assert made.calls == []


def test_sync_code_may_call_without_an_event_loop(layer: Layer, at_work: Recorder) -> None:
    SyncChannelLayer(layer).send("one", {"type": "x"})
    assert at_work.calls[0].destination == "one"


async def test_errors_are_noted_and_raised(layer: Layer, at_work: Recorder) -> None:
    with pytest.raises(TypeError):
        await layer.send("not a name", {"type": "x"})
    with pytest.raises(TypeError):
        await layer.send()  # type: ignore[call-arg]
    assert all(isinstance(call.error, TypeError) for call in at_work.calls)
    assert at_work.calls[1].destination == ""


async def test_states_have_collections_and_values(layer: Layer, at_work: Recorder) -> None:
    await layer.set_state("jobs", "one", {"done": 1}, 60)
    await layer.get_states("jobs")
    assert [(call.method, call.destination, call.content) for call in at_work.calls] == [
        ("set_state", "jobs", {"done": 1}),
        ("get_states", "jobs", None),
    ]
    assert at_work.calls[1].size() is None


async def test_a_bounded_number_is_kept_and_all_are_counted(
    layer: Layer, at_work: Recorder
) -> None:
    for _ in range(3):
        await layer.send("one", {"type": "x"})
    assert (at_work.count, len(at_work.calls)) == (3, 2)


async def test_nothing_is_added_after_the_request(layer: Layer, at_work: Recorder) -> None:
    at_work.open = False
    await layer.send("one", {"type": "x"})
    assert at_work.count == 0


def test_the_size_is_that_of_the_bytes_which_the_layer_sends() -> None:
    class Bytes:
        def serialize(self, message: dict[str, Any]) -> bytes:
            return b"12345"

    assert Call(Bytes(), "send", "one", {"type": "x"}).size() == 5
    assert Call(object(), "send", "one", {"type": object()}).size() is None


def test_methods_that_are_no_coroutine_functions_are_left_alone() -> None:
    class Odd:
        def send(self, channel: str, message: dict[str, Any]) -> None:
            """Not as a layer has it."""

    send = Odd.send
    watch(Odd())
    assert Odd.send is send
