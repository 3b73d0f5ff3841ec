"""Messages are kept apart."""

import asyncio
import collections
import datetime
import decimal
import threading
import uuid

import pytest
from django.http import QueryDict
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from channels.exceptions import SerializationError
from channels.layers.messages import snapshot, taken

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.timedeltas()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=1)  # repr() of more is in any order
        | st.binary().map(bytearray)
    ),
    max_leaves=15,
)
messages = st.dictionaries(st.text(max_size=5), values, max_size=5)


def containers(value):
    """Every mutable thing inside ``value``, itself included."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from containers(item)
    elif isinstance(value, (list, tuple)):
        if isinstance(value, list):
            yield value
        for item in value:
            yield from containers(item)
    elif isinstance(value, (set, bytearray)):
        yield value


def spoil(value):
    for container in list(containers(value)):
        container.clear()


@given(messages)
def test_a_copy_equals_the_message_in_value_and_type(message):
    copy = snapshot(message)()
    assert copy == message
    assert repr(copy) == repr(message)  # 1, 1.0 and True are equal, but not the same


@given(messages)
def test_no_two_of_them_share_anything_that_can_change(message):
    unpack = snapshot(message)
    copies = [message, unpack(), unpack()]
    seen = [id(container) for copy in copies for container in containers(copy)]
    assert len(seen) == len(set(seen))


@given(messages)
def test_later_changes_reach_nobody(message):
    unpack = snapshot(message)
    expected = repr(message)
    first = unpack()
    spoil(message)
    assert repr(first) == expected
    spoil(first)
    assert repr(unpack()) == expected


@pytest.mark.parametrize("value", [None, "text", ["list"], 5, b"", [("type", "pairs")]])
def test_only_a_dict_is_a_message(value):
    with pytest.raises(SerializationError, match=type(value).__name__):
        snapshot(value)


@pytest.mark.parametrize("kind", [collections.OrderedDict, collections.Counter])
def test_a_kind_of_dict_is_carried_as_a_dict(kind):
    assert type(snapshot(kind(type=1))()) is dict


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(a=[1]),
        collections.Counter("abca"),
        mark_safe("<b>"),
        frozenset({1}),
        collections.deque([[1]]),
        datetime.date(2026, 1, 1),
        decimal.Decimal("1.10"),
        uuid.UUID(int=5),
        range(3),
    ],
)
def test_other_values_keep_their_type(value):
    copy = snapshot({"type": "x", "value": value, "nested": [value]})()
    assert copy["value"] == value == copy["nested"][0]
    assert type(copy["value"]) is type(value)


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in ()), memoryview(b"")])
def test_what_cannot_be_copied_is_refused_at_once(value):
    with pytest.raises(SerializationError, match="send plain values"):
        snapshot({"type": "x", "value": value})


@pytest.mark.parametrize("value", [asyncio.Lock, len, test_only_a_dict_is_a_message])
def test_functions_and_classes_are_shared(value):
    assert snapshot({"type": "x", "value": value})()["value"] is value


def test_a_message_that_contains_itself_is_refused():
    message = {"type": "x"}
    message["self"] = [message]
    with pytest.raises(SerializationError, match="contains itself"):
        snapshot(message)


class OnlyOnce:
    """Can be copied, but its copy cannot."""

    def __init__(self, left=1):
        self.left = left

    def __deepcopy__(self, memo):
        if not self.left:
            raise RuntimeError("not again")
        return OnlyOnce(self.left - 1)


def test_what_cannot_be_copied_again_is_a_serialization_error_too():
    unpack = snapshot({"type": "x", "value": OnlyOnce()})
    with pytest.raises(SerializationError, match="not again"):
        unpack()


# What is sent within the process


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=5), plain_values, max_size=5))
def test_plain_values_arrive_as_they_were_sent_and_are_shared_by_nobody(message):
    unpack = taken(message)
    expected = repr(message)
    copies = [message, unpack(), unpack()]
    assert [repr(copy) for copy in copies] == [expected] * 3
    seen = [id(container) for copy in copies for container in containers(copy)]
    assert len(seen) == len(set(seen))
    spoil(message)
    assert repr(unpack()) == expected


def test_objects_are_copied_beside_values_that_become_plain():
    days = {datetime.date(2026, 1, 1)}
    unpack = taken(
        {"type": "x", "days": days, "html": [mark_safe("<b>")], "form": QueryDict("a=1")}
    )
    days.clear()
    first, second = unpack(), unpack()
    assert first["days"] == second["days"] == {datetime.date(2026, 1, 1)}
    assert first["days"] is not second["days"]
    assert first["html"] == ["<b>"]
    assert type(first["html"][0]) is str
    assert first["form"] == {"a": "1"}
    assert type(first["form"]) is dict


@pytest.mark.parametrize("value", [None, "text", ["list"], 5, b"", [("type", "pairs")]])
def test_only_a_dict_can_be_sent(value):
    with pytest.raises(SerializationError, match=type(value).__name__):
        taken(value)


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in ())])
def test_what_cannot_be_copied_is_not_sent(value):
    with pytest.raises(SerializationError, match="send plain values"):
        taken({"type": "x", "value": value})


def test_a_message_that_contains_itself_is_not_sent():
    message = {"type": "x"}
    message["self"] = [message]
    with pytest.raises(SerializationError, match="contains itself"):
        taken(message)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_an_integer_of_more_than_64_bits_is_not_sent(number):
    with pytest.raises(SerializationError, match=r"message\['number'\].*more than 64 bits"):
        taken({"type": "x", "number": number})
