import pytest

from channels._runtime.faults import client_close_code
from channels.generic import _messages as messages


def test_headers_of_every_shape():
    pairs = [(b"a", b"1"), (b"b", b"\xe4")]
    assert messages.as_header_pairs(None) == []
    assert messages.as_header_pairs({"a": "1", b"b": "ä"}) == pairs
    assert messages.as_header_pairs([("a", b"1"), (b"b", bytearray(b"\xe4"))]) == pairs


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (None, None, {}),
        (True, None, {}),
        (4000, None, {"code": 4000}),
        (None, "why", {"reason": "why"}),
    ],
)
def test_close_messages(code, reason, expected):
    assert messages.close_message(code, reason) == {"type": "websocket.close", **expected}


def test_binary_where_text_is_expected_is_the_clients_fault():
    assert client_close_code(messages.binary_where_text_expected()) == 1003
