"""Tokens are found wherever clients may put them, and nothing of them stays there."""

import pytest

from channels.security.tokens.reading import acceptable, take


def scope(*headers, kind="websocket", query=b"", offered=()):
    headers = list(headers)
    if offered:
        headers.append((b"sec-websocket-protocol", ", ".join(offered).encode()))
    return {
        "type": kind,
        "headers": headers,
        "query_string": query,
        "subprotocols": list(offered),
    }


def tokens(found, schemes=(b"bearer",), parameter="ticket"):
    presented = take(found, schemes, parameter)
    return presented.tokens, presented.scope


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Bearer abc", "abc"),
        (b"bEARER  abc ", "abc"),
        (b"Bearer", ""),
        (b"abc", ""),
        (b"Bearer a b", "a b"),
        (b"Bearer \xff", "\xff"),
    ],
)
def test_the_header(value, expected):
    original = scope((b"Authorization", value), (b"host", b"example.com"))
    found, clean = tokens(original)
    assert found == [(expected, False)]
    assert clean["headers"] == [(b"host", b"example.com")]
    assert len(original["headers"]) == 2


def test_other_schemes_are_left_alone():
    basic = (b"authorization", b"Basic abc")
    found, clean = tokens(scope(basic, (b"authorization", b"Token abc")), (b"bearer", b"token"))
    assert (found, clean["headers"]) == ([("abc", False)], [basic])


@pytest.mark.parametrize(
    ("offered", "expected", "left"),
    [
        (["channels.bearer", "abc"], ["abc"], []),
        (["chat.v1", "channels.bearer", "abc", "chat.v2"], ["abc"], ["chat.v1", "chat.v2"]),
        (["channels.bearer"], [""], []),
        (["channels.bearer", "a", "channels.bearer", "b"], ["a", "b"], []),
        (["chat.v1"], [], ["chat.v1"]),
    ],
)
def test_the_subprotocols(offered, expected, left):
    found, clean = tokens(scope(offered=offered))
    assert [token for token, _ in found] == expected
    assert clean["subprotocols"] == left
    assert dict(clean["headers"]).get(b"sec-websocket-protocol", b"") == ", ".join(left).encode()


def test_a_request_has_no_subprotocols():
    assert tokens(scope(kind="http", offered=["channels.bearer", "abc"]))[0] == []


@pytest.mark.parametrize(
    ("query", "expected", "left"),
    [
        (b"ticket=abc", ["abc"], b""),
        (b"a=1&ticket=abc&b=%20", ["abc"], b"a=1&b=%20"),
        (b"%74icket=a%62c", ["abc"], b""),
        (b"ticket=a&ticket=b", ["a", "b"], b""),
        (b"ticket", [""], b""),
        (b"tickets=1&a=%20", [], b"tickets=1&a=%20"),
        (b"a=1", [], b"a=1"),
        (b"ticket=\xff", ["\xff"], b""),
    ],
)
def test_the_query_string(query, expected, left):
    found, clean = tokens(scope(query=query))
    assert found == [(token, True) for token in expected]
    assert clean["query_string"] == left


def test_a_parameter_that_nobody_reads_stays():
    found, clean = tokens(scope(query=b"ticket=abc"), parameter=None)
    assert (found, clean["query_string"]) == ([], b"ticket=abc")


def test_what_is_presented_is_not_shown():
    assert "abc" not in repr(take(scope((b"authorization", b"Bearer abc")), (b"bearer",), None))


@pytest.mark.parametrize(
    ("token", "expected"),
    [("abc", True), ("", False), ("a b", False), ("a\0", False), ("é", False), ("a\n", False)],
)
def test_what_can_be_a_token(token, expected):
    assert acceptable(token) is expected
    assert acceptable("x" * 8192)
    assert not acceptable("x" * 8193)
