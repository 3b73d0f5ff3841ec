"""Layers of others: whatever they lack, and however they call it, they can be used."""

import asyncio
import threading

import pytest

from channels.exceptions import InvalidNameError, SerializationError
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, SyncChannelLayer
from channels.layers.option_checks import Options
from channels.layers.receiving import ReceivingMailbox
from channels.layers.redis import RedisChannelLayer
from channels.layers.third_party import adapt, check_options, close, supports_processes

from .helpers import message, until


class Bare:
    """No base class, nothing but the well-known methods; says how it was called."""

    def __init__(self, address="", *, port=1):
        self.calls = []
        self.queue = asyncio.Queue()

    async def send(self, channel, message):
        self.calls.append(("send", channel, message))
        self.queue.put_nowait(message)

    async def receive(self, channel):
        return await self.queue.get()

    async def new_channel(self):
        return "bare!1"

    async def group_add(self, group, channel):
        self.calls.append(("group_add", group, channel))

    async def group_discard(self, group, channel):
        self.calls.append(("group_discard", group, channel))

    async def group_send(self, group, message):
        self.calls.append(("group_send", group, message))


class Rich(Bare):
    """No base class, but all that a layer may have besides."""

    extensions = ("groups", "flush")
    channels = InMemoryChannelLayer()

    async def flush(self):
        self.calls.append(("flush",))

    def require_valid_channel_name(self, name):
        if " " in name:
            raise TypeError("no spaces")
        return True

    require_valid_group_name = require_valid_channel_name

    def open_mailbox(self, channel, wake):
        return self.channels.open_mailbox(channel, wake)

    async def stop_receiving(self, channel):
        self.calls.append(("stop_receiving", channel))

    def serialize(self, message):
        raise ValueError("not for this layer")


class Derived(BaseChannelLayer):
    """Of others, with the base class, whose constructor it does not call."""

    extensions = ["groups"]

    def __init__(self):
        pass


def test_a_layer_with_the_base_class_is_used_as_it_is():
    for layer in (InMemoryChannelLayer(), Derived()):
        assert adapt(layer) is layer


async def test_every_call_reaches_a_layer_without_the_base_class():
    layer = Rich()
    adapted = adapt(layer)
    await adapted.send("c", message(1))
    await adapted.group_add("g", "c")
    await adapted.group_discard("g", "c")
    await adapted.group_send("g", message(2))
    await adapted.stop_receiving("c")
    await adapted.flush()
    assert layer.calls == [
        ("send", "c", message(1)),
        ("group_add", "g", "c"),
        ("group_discard", "g", "c"),
        ("group_send", "g", message(2)),
        ("stop_receiving", "c"),
        ("flush",),
    ]
    assert await adapted.receive("c") == message(1)
    assert await adapted.new_channel() == "bare!1"


@pytest.mark.parametrize(
    ("layer", "groups", "flush"),
    [(Bare, False, False), (Rich, True, True), (Derived, True, False)],
)
async def test_what_a_layer_can_do_is_what_its_extensions_say(layer, groups, flush):
    adapted = adapt(layer())
    assert (adapted.supports_groups, adapted.supports_flush) == (groups, flush)
    assert not adapted.supports_sync
    assert not adapted.supports_delayed
    assert adapted.supports_processes


async def test_a_mailbox_is_the_layers_own_or_is_filled_by_receive():
    own = adapt(Rich()).open_mailbox("c", lambda: None)
    assert not isinstance(own, ReceivingMailbox)
    await own.close()
    for layer in (Bare(), Derived()):
        mailbox = adapt(layer).open_mailbox("c", lambda: None)
        assert isinstance(mailbox, ReceivingMailbox)
        await mailbox.close()


async def test_a_mailbox_filled_by_receive_gives_what_was_sent():
    layer, woken = Bare(), []
    mailbox = adapt(layer).open_mailbox("c", lambda: woken.append(1))
    await layer.send("c", message(1))
    await until(lambda: woken)
    assert mailbox.take() == message(1)
    await mailbox.close()


async def test_a_layer_that_does_not_hand_over_ahead_has_nothing_to_give_back():
    for layer in (Bare(), Derived()):
        assert await adapt(layer).stop_receiving("c") is None


async def test_names_are_for_the_layer_to_refuse():
    for kind in ("channel", "group"):
        bare, rich, derived = (
            getattr(adapt(layer), f"require_valid_{kind}_name")
            for layer in (Bare(), Rich(), Derived())
        )
        assert bare("any name")
        assert rich("name")
        assert derived("name")
        with pytest.raises(TypeError, match="no spaces"):
            rich("any name")
        with pytest.raises(InvalidNameError):
            derived("any name")


async def test_a_message_is_kept_as_it_was_and_refused_if_the_layer_cannot_send_it():
    for layer in (Bare(), Derived()):
        text = {"type": "t", "lines": ["first"]}
        unpack = adapt(layer).snapshot(text)
        text["lines"].append("second")
        assert unpack() == {"type": "t", "lines": ["first"]}
        with pytest.raises(SerializationError):
            adapt(layer).snapshot({"type": "t", "lock": threading.Lock()})
    with pytest.raises(ValueError, match="not for this layer"):
        adapt(Rich()).snapshot(message())


def test_sync_code_can_use_a_layer_without_the_base_class():
    layer = Bare()
    SyncChannelLayer(layer).group_send("g", message(1))
    assert layer.calls == [("group_send", "g", message(1))]


class TestClose:
    @pytest.mark.parametrize("name", ["close", "aclose", "close_pools"])
    async def test_under_whichever_name(self, name):
        closed = []

        async def method():
            closed.append(name)

        layer = Bare()
        setattr(layer, name, method)
        await close(layer)
        assert closed == [name]

    async def test_a_plain_method(self):
        layer, closed = Bare(), []
        layer.close = lambda: closed.append(1)
        await close(layer)
        assert closed == [1]

    async def test_a_layer_with_nothing_to_close(self):
        layer = Bare()
        await close(layer)
        assert layer.calls == []


class TestOptions:
    @staticmethod
    def found(backend, **config):
        return check_options(backend, Options("chat", "CONFIG", config))

    @pytest.mark.parametrize("backend", [Bare, lambda address="", *, port=1: Bare(address)])
    def test_of_a_class_or_a_function(self, backend):
        assert self.found(backend, address="here", port=2) == []
        [told] = self.found(backend, adress="here")
        assert told.id == "channels.E005"
        assert "adress" in told.msg
        assert told.hint == "adress perhaps means address. The backend takes: address, port."

    def test_a_layer_of_others_is_not_made(self):
        class Unmakeable(BaseChannelLayer):
            def __init__(self, hosts):
                raise OSError("connects when it is made")

        assert self.found(Unmakeable, hosts=[]) == []
        [told] = self.found(Unmakeable)
        assert "missing a required argument: 'hosts'" in told.msg

    def test_a_check_of_its_own_is_asked(self):
        class Own(Derived):
            @classmethod
            def check(cls, options):
                return [options.refuse(f"{options.config['a']} is no number", "Choose a number.")]

        [told] = self.found(Own, a="x")
        assert told.msg == "CONFIG of channel layer 'chat' does not fit its backend: x is no number"

    def test_a_check_that_raises_is_told_and_breaks_nothing(self):
        class Broken(Derived):
            @classmethod
            def check(cls, options):
                raise ZeroDivisionError("division by zero")

        [told] = self.found(Broken)
        assert told.id == "channels.E005"
        assert "check() raised ZeroDivisionError: division by zero" in told.msg

    def test_what_cannot_be_inspected_is_left_to_itself(self):
        assert self.found(dict, a=1) == []


def test_only_a_layer_that_says_so_stays_within_the_process():
    class Own(InMemoryChannelLayer):
        pass

    assert [supports_processes(backend) for backend in (InMemoryChannelLayer, Own)] == [False] * 2
    assert all(map(supports_processes, (Bare, Derived, RedisChannelLayer, Bare.new_channel)))
