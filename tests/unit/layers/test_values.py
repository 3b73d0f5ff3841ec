"""The quick look at a message and the look at each value agree."""

import datetime
import enum
import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channels.exceptions import SerializationError
from channels.layers.messages import pack, packed
from channels.layers.values import MAX_DEPTH, is_plain, is_text, json_values, plain


class Word(enum.StrEnum):
    A = "a"


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters())
    | st.text("a\ud800")
    | st.binary()
    | st.dates()
    | st.just(Word.A)
    | st.sampled_from([b"\xcb\x7f\xf0", b"\xcb\xff\xff" + bytes(6)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=2) | st.integers() | st.floats(), inner, max_size=3)
    ),
    max_leaves=8,
)
messages = st.dictionaries(st.text(max_size=3) | st.just(Word.A), anything, max_size=4)


def as_lists(value):
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value]
    return value


@given(messages)
@example({"a": [math.inf]})
@example({"a": {"b": 2**64}})
@example({"\udfff": 1})
def test_what_the_quick_way_takes_is_what_the_slow_way_makes_of_it(message):
    quick = packed(message)
    try:
        slow = plain(message)
    except SerializationError:
        slow = None
    if slow is None:
        assert quick is None
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(slow)) == slow
    if quick is not None:
        assert repr(msgspec.msgpack.decode(quick)) == repr(slow) == repr(as_lists(message))


@given(messages)
def test_what_json_takes_is_taken_by_messagepack_too(message):
    try:
        content = json_values(message)
    except SerializationError:
        return
    assert repr(content) == repr(plain(message))


def nested(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("check", [plain, json_values])
def test_the_depth_is_bounded_at_the_same_level_in_both_ways(check):
    assert is_plain(nested(MAX_DEPTH))
    assert check(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert not is_plain(nested(MAX_DEPTH + 1))
    with pytest.raises(SerializationError, match="more than 256 levels deep") as caught:
        check(nested(MAX_DEPTH + 1))
    assert len(str(caught.value)) < 200


def test_text_is_what_can_be_encoded():
    assert all(map(is_text, ["", "a", "\u017e", "\U0001f40e"]))
    assert not any(map(is_text, ["\ud800", "a\udfff", "\u017e\udc00"]))


def test_bytes_that_look_like_a_float_only_seem_suspect():
    assert pack({"a": b"\xcb\x7f\xf8"}) is None
    assert plain({"a": b"\xcb\x7f\xf8"}) == {"a": b"\xcb\x7f\xf8"}
    assert pack({"a": [1.5, -0.0, 1e308]}) is not None


def test_what_converts_objects_leaves_keys_as_they_are():
    date = datetime.date(2026, 1, 1)
    assert plain({(1, 2): date}, str) == {(1, 2): "2026-01-01"}
