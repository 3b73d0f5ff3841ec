"""Text beside a message: bounded, taken out before a handler sees it, and never trusted."""

import pytest

from channels._runtime import carried
from channels._runtime.carried import KEY, LARGEST


@pytest.fixture(autouse=True)
def nothing_carried():
    carried.carried.set(None)
    yield
    carried.carried.set(None)


def test_what_is_encoded_comes_back():
    assert carried.decode(carried.encode({"traceparent": "00-a", "baggage": "k=ü"})) == {
        "traceparent": "00-a",
        "baggage": "k=ü",
    }


def test_what_would_make_it_too_long_is_left_out():
    text = carried.encode({"a": "1", "baggage": "x" * LARGEST, "b": "2"})
    assert carried.decode(text) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '{"a": 1}', "\ud800"])
def test_what_is_none_of_ours_is_nothing(text):
    assert carried.decode(text) == {}


def test_take_leaves_the_message_as_it_was_sent():
    message = {"type": "a", KEY: '{"a":"1"}'}
    assert carried.take(message)
    assert message == {"type": "a"}
    assert carried.carried.get() == '{"a":"1"}'
    assert not carried.take(message)
    assert carried.carried.get() is None


@pytest.mark.parametrize("text", [1, None, {"a": "b"}, "x" * (LARGEST + 1)])
def test_what_cannot_be_a_text_of_ours_is_taken_out_and_forgotten(text):
    message = {"type": "a", KEY: text}
    carried.take(message)
    assert message == {"type": "a"}
    assert carried.carried.get() is None


def test_a_message_that_carries_nothing_does_not_have_what_came_before():
    assert carried.strip({"type": "a", KEY: "{}"}) == {"type": "a"}
    assert carried.carried.get() == "{}"
    assert carried.strip({"type": "b"}) == {"type": "b"}
    assert carried.carried.get() is None


def test_put_back_undoes_strip():
    message = {"type": "a", KEY: "{}"}
    assert carried.put_back(carried.strip(message)) == {"type": "a", KEY: "{}"}
    assert carried.carried.get() is None
    assert carried.put_back({"type": "b"}) == {"type": "b"}
