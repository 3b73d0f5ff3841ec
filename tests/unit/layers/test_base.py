"""Names, capacities and the interface that every layer has."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.exceptions import (
    ChannelsError,
    InvalidChannelLayerError,
    InvalidNameError,
    NotSupported,
)
from channels.layers import BaseChannelLayer, InMemoryChannelLayer
from channels.layers.option_checks import Options
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

GOOD_GROUPS = ["a", "chat_room-1.2", "A" * 99, ".", "-", "_", "0"]
GOOD_CHANNELS = [*GOOD_GROUPS, "specific.abc!def", "specific.abc!", "a" * 97 + "!b"]
BAD = [
    "",
    "a" * 100,
    "with space",
    "newline\n",
    "\nnewline",
    "a\x00",
    "tab\t",
    "slash/",
    "unicode_é",
    "digits_\u0661\u0662",  # \d matches these unless it is told not to
    "full_width_\uff11",
    "\u017f",  # matches [a-z] under re.IGNORECASE
    "percent%",
    "*",
    None,
    5,
    b"bytes",
    ["list"],
    {"a": 1},
]


@pytest.fixture
def layer():
    return BaseChannelLayer()


@pytest.mark.parametrize("name", GOOD_CHANNELS)
def test_valid_channel_names(layer, name):
    assert layer.require_valid_channel_name(name) is True


@pytest.mark.parametrize("name", GOOD_GROUPS)
def test_valid_group_names(layer, name):
    assert layer.require_valid_group_name(name) is True


@pytest.mark.parametrize("name", [*BAD, "!", "!local", "two!marks!", "digits!\u0661", "line!x\n"])
def test_invalid_channel_names(layer, name):
    with pytest.raises(TypeError, match="Channel name must be a valid unicode string with length"):
        layer.require_valid_channel_name(name)


@pytest.mark.parametrize("name", [*BAD, "specific!channel", "end!"])
def test_invalid_group_names(layer, name):
    with pytest.raises(TypeError, match="Group name must be a valid unicode string with length"):
        layer.require_valid_group_name(name)


def test_the_error_says_what_is_allowed_and_what_was_given(layer):
    with pytest.raises(InvalidNameError) as caught:
        layer.require_valid_group_name("bad\nname")
    assert str(caught.value) == (
        "Group name must be a valid unicode string with length < 100 containing only ASCII "
        "alphanumerics, hyphens, underscores, or periods. Got 'bad\\nname'."
    )
    assert isinstance(caught.value, ChannelsError)


def test_the_text_of_the_error_has_one_slot_for_the_kind_of_name():
    expected = (
        "Group name must be a valid unicode string with length < 100 containing only ASCII "
        "alphanumerics, hyphens, underscores, or periods."
    )
    assert BaseChannelLayer.invalid_name_error.format("Group") == expected
    assert BaseChannelLayer().invalid_name_error.format("Group") == expected


def test_a_layer_may_have_a_text_and_a_length_of_its_own():
    class Short(BaseChannelLayer):
        MAX_NAME_LENGTH = 5

    class Rude(BaseChannelLayer):
        invalid_name_error = "{} name? No."

    assert "length < 5 " in Short.invalid_name_error
    with pytest.raises(TypeError, match=r"Group name\? No\. Got 'a b'"):
        Rude().require_valid_group_name("a b")


@given(st.text() | st.text(min_size=80, max_size=3000))
def test_the_error_is_one_short_line(name):
    if re.fullmatch(r"[a-zA-Z0-9._-]+(![a-zA-Z0-9._-]*)?", name) and len(name) < 100:
        assert BaseChannelLayer().require_valid_channel_name(name)
        return
    with pytest.raises(InvalidNameError) as caught:
        BaseChannelLayer().require_valid_channel_name(name)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_a_name_to_receive_from_ends_at_the_mark(layer):
    assert layer.require_valid_channel_name("specific.abc!", receive=True)
    assert layer.require_valid_channel_name("plain", receive=True)
    with pytest.raises(TypeError, match="must end at the !"):
        layer.require_valid_channel_name("specific.abc!def", receive=True)


def test_lists_of_names(layer):
    assert layer.valid_channel_names(["a", "b!c"]) is True
    assert layer.valid_channel_names(["a", "b!"], receive=True) is True
    for names in ([], (), ("a",), "a", None):
        with pytest.raises(TypeError, match="non-empty list"):
            layer.valid_channel_names(names)
    with pytest.raises(TypeError):
        layer.valid_channel_names(["a", "b c"])
    with pytest.raises(TypeError):
        layer.valid_channel_names(["a!b"], receive=True)


def test_deprecated_names_still_work_and_say_so_at_the_caller(layer):
    said = "^valid_channel_name is deprecated, use require_valid_channel_name"
    with pytest.warns(DeprecationWarning, match=said) as caught:
        assert layer.valid_channel_name(channel_name="a")
    assert caught[0].filename == __file__
    said = "^valid_group_name is deprecated, use require_valid_group_name"
    with pytest.warns(DeprecationWarning, match=said) as caught:
        assert layer.valid_group_name(group_name="a")
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="valid_channel"), pytest.raises(TypeError):
        layer.valid_channel_name("a!b", receive=True)


@pytest.mark.parametrize(
    ("name", "part"), [("plain", "plain"), ("a.b!c", "a.b!"), ("a!", "a!"), ("a!b!c", "a!")]
)
def test_non_local_name(layer, name, part):
    assert layer.non_local_name(name) == part


def test_capacities():
    layer = BaseChannelLayer(
        capacity=7,
        channel_capacity={
            "http.request": 200,
            "http.response!*": 10,
            re.compile(r"^websocket\.send!.+"): 20,
            "web[a-c]": 30,
            "http.*": 40,
        },
    )
    expected = {
        "http.request": 200,
        "http.response!abc": 10,
        "http.responseXabc": 40,
        "http.other": 40,
        "websocket.send!x": 20,
        "websocket.send!": 7,
        "webb": 30,
        "webd": 7,
        "xhttp.request": 7,
        "http.request.more": 40,
        "default": 7,
    }
    assert {name: layer.get_capacity(name) for name in expected} == expected


def test_the_first_pattern_that_matches_counts():
    layer = BaseChannelLayer(channel_capacity={"a*": 1, "ab*": 2})
    assert layer.get_capacity("abc") == 1


def test_a_third_party_layer_need_not_call_init():
    class Layer(BaseChannelLayer):
        MAX_NAME_LENGTH = 5

        def __init__(self):
            self.expiry, self.capacity = 1, 2
            self.channel_capacity = self.compile_capacities({"big*": 9})

    layer = Layer()
    assert (layer.get_capacity("x"), layer.get_capacity("big.1")) == (2, 9)
    assert layer.require_valid_group_name("four")
    with pytest.raises(TypeError, match="length < 5"):
        layer.require_valid_group_name("fives")
    assert layer.non_local_name("a!b") == "a!"


async def test_what_a_layer_does_not_implement_says_so(layer):
    calls = [
        layer.send("a", {}),
        layer.receive("a"),
        layer.new_channel(),
        layer.flush(),
        layer.group_add("g", "a"),
        layer.group_discard("g", "a"),
        layer.group_send("g", {}),
        layer.set_state("c", "f", {}, 1),
        layer.get_states("c"),
        layer.get_state("c", "f"),
        layer.delete_state("c", "f"),
    ]
    for call in calls:
        with pytest.raises(NotImplementedError, match=call.__name__):
            await call


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 100, None, 7, "ä"])
def test_names_of_states_are_like_those_of_groups(layer, name):
    layer.require_valid_state_name("jobs.user-7", "import_1")
    layer.require_valid_state_name("jobs.user-7")
    with pytest.raises(TypeError, match="Collection name must be"):
        layer.require_valid_state_name(name, "field")
    if name is not None:
        with pytest.raises(TypeError, match="Field name must be"):
            layer.require_valid_state_name("jobs", name)


def test_extensions_default_to_none(layer):
    assert layer.extensions == []


class TestCapabilities:
    """What a layer says that it can do."""

    def test_a_layer_that_says_nothing_sends_and_receives(self, layer):
        assert layer.extensions == []
        assert layer.supports_processes
        for name in ("groups", "flush", "sync", "delayed", "state"):
            assert getattr(layer, f"supports_{name}") is False

    @pytest.mark.parametrize(
        ("backend", "processes", "sync"),
        [
            (InMemoryChannelLayer, False, True),
            (RedisChannelLayer, True, False),
            (RedisPubSubChannelLayer, True, False),
        ],
    )
    def test_layers_of_this_package(self, backend, processes, sync):
        layer = backend()
        assert set(layer.extensions) == {"groups", "flush"}
        assert layer.supports_groups
        assert layer.supports_flush
        assert layer.supports_processes is processes
        assert layer.supports_sync is sync
        assert layer.supports_state
        assert layer.supports_delayed

    def test_extensions_count_as_they_are_now(self, layer):
        layer.extensions = ["groups"]
        assert layer.supports_groups

    def test_a_subclass_that_overrides_a_coroutine_does_not_inherit_that_it_never_waits(self):
        class Mixin:
            async def group_send(self, group, message):
                pass

        class Sends(InMemoryChannelLayer):
            async def send(self, channel, message):
                pass

        class Both(Mixin, Sends):
            pass

        class GroupSends(InMemoryChannelLayer):
            async def group_send(self, group, message):
                pass

        class Joined(Sends, GroupSends):
            pass

        class Declares(Both):
            immediate = frozenset({"send"})

        def immediate(backend):
            return {name for name in ("send", "group_send") if backend().is_immediate(name)}

        assert immediate(InMemoryChannelLayer) == {"send", "group_send"}
        assert immediate(Sends) == {"group_send"}
        assert immediate(Both) == set()
        assert immediate(Joined) == set()
        assert immediate(Declares) == {"send"}
        assert not Sends().supports_sync

    def test_nor_does_an_instance_with_a_method_of_its_own(self):
        layer = InMemoryChannelLayer()
        layer.send = None
        assert not layer.is_immediate("send")

    async def test_nothing_is_found_in_a_broker_and_nothing_given_back(self, layer):
        assert await layer.check_broker("default") == []
        assert await layer.stop_receiving("jobs") is None

    def test_the_check_tells_of_options_that_the_class_does_not_take(self):
        assert BaseChannelLayer.check(Options("default", "CONFIG", {"expiry": 1})) == []
        [told] = BaseChannelLayer.check(Options("default", "CONFIG", {"expire": 1}))
        assert "expire perhaps means expiry" in told.hint

    def test_a_snapshot_is_the_message_as_it_was(self, layer):
        message = {"type": "t", "list": [1]}
        unpack = layer.snapshot(message)
        message["list"].append(2)
        assert unpack() == {"type": "t", "list": [1]}


async def test_a_layer_that_sends_nothing_later_says_so():
    class Plain(BaseChannelLayer):
        pass

    layer = Plain()
    assert not layer.supports_delayed
    for refused in (
        layer.send_later("a", {}, delay=1),
        layer.group_send_later("a", {}, delay=1),
        layer.cancel_later("handle"),
        layer.send_every(1, "a", {}, name="clock"),
        layer.group_send_every(1, "a", {}, name="clock"),
        layer.cancel_every("clock"),
    ):
        with pytest.raises(NotSupported, match="it does not send later") as caught:
            await refused
        assert isinstance(caught.value, InvalidChannelLayerError)
        assert isinstance(caught.value, NotImplementedError)
