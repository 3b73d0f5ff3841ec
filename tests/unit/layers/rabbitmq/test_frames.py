"""Frames of messages, compared with what pamqp makes of them."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from channels.exceptions import InvalidNameError
from channels.layers.rabbitmq.frames import (
    body_size,
    encode_ack,
    encode_message,
    message_number,
    message_type,
    properties,
)

LIMIT = 4096


def frames_of(data):
    """What pamqp reads, and over which channels it came."""
    found = []
    while data:
        length, channel, value = frame.unmarshal(data)
        found.append((channel, value))
        data = data[length:]
    return found


@given(
    exchange=st.from_regex(r"[a-zA-Z0-9_.:-]{0,60}", fullmatch=True),
    key=st.text(max_size=60),
    body=st.binary(max_size=3 * LIMIT),
    persistent=st.booleans(),
    expiration=st.none() | st.floats(0.001, 1e6),
    kind=st.none() | st.text(max_size=60),
    number=st.none() | st.integers(1, 2**63),
)
def test_messages_are_what_pamqp_makes_of_them(
    exchange, key, body, persistent, expiration, kind, number
):
    chosen = properties(
        persistent=persistent, expiration=expiration, kind=kind, numbered=number is not None
    )
    data = encode_message(7, exchange, key, body, chosen, number, LIMIT)
    expected = commands.Basic.Properties(
        delivery_mode=2 if persistent else 1,
        expiration=None if expiration is None else str(int(expiration * 1000)),
        message_type=kind,
        message_id=None if number is None else f"{number:020d}",
    )
    publish = commands.Basic.Publish(
        exchange=exchange, routing_key=key, mandatory=number is not None
    )
    parts = [publish, ContentHeader(0, len(body), expected)]
    parts += [
        ContentBody(body[start : start + LIMIT - 8]) for start in range(0, len(body), LIMIT - 8)
    ]
    assert data == b"".join(frame.marshal(part, 7) for part in parts)


def test_no_frame_is_longer_than_the_server_allows():
    data = encode_message(1, "", "key", b"x" * 10_000, properties(), None, LIMIT)
    bodies = [value.value for _, value in frames_of(data)[2:]]
    assert [len(body) + 8 for body in bodies] == [4096, 4096, 1832]


def test_a_key_that_is_too_long_is_an_error_that_says_so():
    encode_message(1, "", "x" * 255, b"", properties(), None, LIMIT)
    with pytest.raises(InvalidNameError, match="up to 255 bytes: 'é"):
        encode_message(1, "", "é" * 128, b"", properties(), None, LIMIT)


def test_the_number_of_what_came_back_is_known():
    header = ContentHeader(0, 5, commands.Basic.Properties(message_id=f"{12:020d}"))
    assert message_number(header.marshal()) == 12
    with pytest.raises(ValueError, match="invalid literal"):
        message_number(ContentHeader().marshal())


@given(channel=st.integers(1, 65_535), tag=st.integers(1, 2**63 - 1))
def test_acknowledgements_are_what_pamqp_makes_of_them(channel, tag):
    expected = frame.marshal(commands.Basic.Ack(tag, multiple=True), channel)
    assert encode_ack(channel, tag) == expected


TEXT = st.none() | st.text(min_size=1, max_size=60)


@given(
    content_type=TEXT,
    content_encoding=TEXT,
    headers=st.none() | st.dictionaries(st.text(max_size=20), st.text(max_size=20), min_size=1),
    delivery_mode=st.none() | st.integers(1, 2),
    priority=st.none() | st.integers(0, 9),
    correlation_id=TEXT,
    reply_to=TEXT,
    expiration=TEXT,
    message_id=TEXT,
    timestamp=st.none() | st.just(datetime.datetime(2024, 5, 6, tzinfo=datetime.UTC)),
    message_type=TEXT,
    user_id=TEXT,
    app_id=TEXT,
)
def test_the_type_of_a_message_is_found_among_all_that_it_may_have(**chosen):
    header = ContentHeader(0, 2**40, commands.Basic.Properties(**chosen)).marshal()
    assert message_type(header) == chosen["message_type"]
    assert body_size(header) == 2**40


@given(st.binary(max_size=60))
def test_a_type_that_cannot_be_read_is_none(rubbish):
    assert message_type(b"\0" * 12 + b"\xff\xff" + rubbish[:8]) is None
    assert message_type(rubbish[:12]) is None
    assert message_type(b"\0" * 12 + b"\0\x20\x01\xff") is None
