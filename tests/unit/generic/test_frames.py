import pytest

from channels._runtime.faults import client_close_code
from channels.generic import _frames as frames


def test_headers_of_every_shape():
    pairs = [(b"a", b"1"), (b"b", b"\xe4")]
    assert frames.as_header_pairs(None) == []
    assert frames.as_header_pairs({"a": "1", b"b": "ä"}) == pairs
    assert frames.as_header_pairs([("a", b"1"), (b"b", bytearray(b"\xe4"))]) == pairs


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
    assert frames.close_message(code, reason) == {"type": "websocket.close", **expected}


def test_binary_where_text_is_expected_is_the_clients_fault():
    assert client_close_code(frames.binary_where_text_expected()) == 1003
