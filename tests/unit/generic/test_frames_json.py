"""What a client may send as JSON, and what is sent to it."""

import json
import math
import time

import pytest
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from channels.generic import _frames
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers.messages import taken

DEEP = _frames.MAX_DEPTH


def at_depth(levels, inner="1", opening='{"a": [', closing="]}"):
    return opening * (levels // 2) + inner + closing * (levels // 2)


#: Each refused text with a part of the reason.
REFUSED = [
    ("", "Expecting value"),
    ("{not json", "Expecting property name"),
    ("NaN", "NaN is no JSON"),
    ('{"a": [1, Infinity]}', "Infinity is no JSON"),
    ("-Infinity", "-Infinity is no JSON"),
    ("1e999", "Number beyond the largest float"),
    ('{"a": -1e999}', "Number beyond the largest float"),
    ("1" * 400 + ".5", "Number beyond the largest float"),
    (str(2**64), "Integer of more than 64 bits"),
    (str(-(2**63) - 1), "Integer of more than 64 bits"),
    ("9" * 5000, "Integer of more than 64 bits"),
    ('"\\ud800"', "Half a character"),
    ('{"\\uDFFF": 1}', "Half a character"),
    ('["\\udc00\\ud83d"]', "Half a character"),
    ("[" * 100_000, "Nested more than 200 levels deep"),
    ("[" * 100_000 + "]" * 100_000, "Nested more than 200 levels deep"),
    (at_depth(DEEP + 2), "Nested more than 200 levels deep"),
    ("[" * (DEEP + 1) + "]" * (DEEP + 1), "Nested more than 200 levels deep"),
]

GOOD = [
    "0", "-0", "-0.0", "1e308", "123456789012345678", str(2**64 - 1), str(-(2**63)), "2.5e-999",
    '"NaN Infinity 1e999"', '"\\ud83d\\udc0e"', '"\U0001f40e"', '"\\\\ud800"', '"[[[[{{{{"',
    "[" * DEEP + "]" * DEEP, at_depth(DEEP), '{"a": 1, "a": 2}', "null", '"\u017e"',
]  # fmt: skip


def long(text):
    """The same among so much else that it is read in the other way."""
    return f'["{"x" * 500}", 1.5, {text}]'


@pytest.mark.parametrize("wrap", [str, long])
@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_cannot_be_passed_on_is_refused_where_it_comes_in(text, reason, wrap):
    if wrap is long and (not text or reason.startswith("Expecting")):
        reason = "Expecting|Illegal trailing comma"  # from Python 3.13 on
    if wrap is long and text.startswith("{not"):
        reason = "Expecting property name"
    with pytest.raises(json.JSONDecodeError, match=reason) as caught:
        _frames.decode_json(wrap(text))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", GOOD)
def test_what_is_only_near_it_is_read_as_python_reads_it(text):
    assert repr(_frames.decode_json(text)) == repr(json.loads(text))
    if "[" * (DEEP - 1) not in text and text.count("[") < DEEP // 2:
        assert repr(_frames.decode_json(long(text))) == repr(json.loads(long(text)))


def test_the_error_says_where():
    with pytest.raises(json.JSONDecodeError, match=r"line 2 column 3 \(char 8\)"):
        _frames.decode_json('{"a":\n  NaN}')


def test_bytes_are_read_in_whichever_unicode_they_are():
    for encoding in ("utf-8", "utf-16", "utf-32"):
        assert _frames.decode_json('{"a": "\u017e"}'.encode(encoding)) == {"a": "\u017e"}


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=60,
)


@given(plain, st.booleans())
def test_whatever_is_taken_from_a_client_every_layer_carries(content, ascii_only):
    text = json.dumps(content, ensure_ascii=ascii_only)
    decoded = _frames.decode_json(text)
    assert repr(decoded) == repr(content)
    assert taken({"type": "x", "content": decoded})()["content"] == content


def test_what_is_nested_as_deeply_as_a_client_may_can_be_put_into_messages():
    content = _frames.decode_json("[" * DEEP + "]" * DEEP)
    assert taken({"type": "x", "wrapped": {"in": [{"more": content}]}})


def test_brackets_in_text_cost_no_multiple_of_their_number():
    """A text that looks nested is looked at a few times at most."""
    flat = json.dumps("x" * 200_000)
    seeming = json.dumps("[" * 100_000 + "]" * 100_000)

    def cost(text):
        begun = time.process_time()
        for _ in range(3):
            _frames.decode_json(text)
        return time.process_time() - begun

    assert min(cost(seeming) for _ in range(3)) < 100 * min(cost(flat) for _ in range(3))


# What is sent


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [{"a": math.nan}]])
async def test_what_browsers_do_not_read_is_not_sent(value):
    with pytest.raises(ValueError, match="browsers do not read them"):
        JsonWebsocketConsumer.encode_json({"value": value})
    with pytest.raises(ValueError, match="browsers do not read them"):
        await AsyncJsonWebsocketConsumer.encode_json({"value": value})


def test_everything_else_is_sent_as_python_writes_it():
    for content in ({"a": [1, 2**100, None, mark_safe("<b>"), (1, 2)]}, "\u017e", {1: 2}, "\ud800"):
        assert _frames.encode_json(content) == json.dumps(content)


async def test_other_errors_stay_as_they_are():
    endless = []
    endless.append(endless)
    for error, message, content in [
        (ValueError, "Circular reference", endless),
        (TypeError, "not JSON serializable", object()),
    ]:
        with pytest.raises(error, match=message):
            JsonWebsocketConsumer.encode_json(content)
        with pytest.raises(error, match=message):
            await AsyncJsonWebsocketConsumer.encode_json(content)
