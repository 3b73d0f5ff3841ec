"""Texts for the log: short, on one line, whatever clients and projects put into them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels._runtime.logtext import describe, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("grün 日本 🎉", "grün 日本 🎉"),
        ("", ""),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        ("line\u2028", "line\\u2028"),
        ("\udc80", "\\udc80"),
        (None, "None"),
        (b"bytes", "b'bytes'"),
    ],
)
def test_control_characters_are_escaped_and_other_text_is_kept(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters()) | st.text(min_size=190), st.integers(4, 250))
def test_printable_text_is_one_short_line(text, limit):
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_text_that_is_cut_says_so():
    assert printable("x" * 300) == "x" * 197 + "..."
    assert printable("x" * 200) == "x" * 200
    assert printable("\n" * 200) == "\\n" * 98 + "\\..."


def test_a_huge_text_is_not_escaped_as_a_whole():
    assert len(printable("\x00" * 10_000_000)) == 200


def test_text_whose_str_raises_is_named_by_its_error():
    class Broken(Exception):
        def __str__(self):
            raise LookupError

    assert printable(Broken()) == "(no text: str() raised LookupError)"


class Chat:
    def __init__(self, scope):
        self.scope = scope


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        ({"type": "websocket", "path": "/chat/"}, "Chat at /chat/"),
        ({"type": "channel", "channel": "thumbnails"}, "Chat at thumbnails"),
        ({"type": "mqtt"}, "Chat at mqtt"),
        ({"type": "websocket", "path": "/a\nb"}, "Chat at /a\\nb"),
    ],
)
def test_a_consumer_is_described_by_its_class_and_place(scope, text):
    assert describe(Chat(scope)) == text
