"""Origin rules: who is let in, who is turned away, and what the log says about it."""

import logging
import re
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from channels import signals
from channels.security.websocket import (
    AllowedHostsOriginValidator,
    OriginValidator,
    WebsocketDenier,
)

SERVER = {"asgi": {"version": "3.0"}, "extensions": {"websocket.http.response": {}}}
DENIED = [{"type": "websocket.close"}]
LET_IN = [{"type": "websocket.accept"}]


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})


async def connect(validator: Any, *origins: bytes | str, **scope: Any) -> list[Any]:
    """Open a WebSocket with these Origin headers; returns what was answered."""
    headers = [(b"host", b"testserver")]
    headers += [
        (b"origin", origin.encode() if isinstance(origin, str) else origin) for origin in origins
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await validator(
        {"type": "websocket", "path": "/ws/", "headers": headers, **scope}, receive, send
    )
    return sent


async def lets_in(allowed: list[Any], origin: bytes | str) -> bool:
    return await connect(OriginValidator(application, allowed), origin) == LET_IN


@pytest.mark.parametrize(
    ("pattern", "origin", "expected"),
    [
        # A host: any scheme, any port.
        ("example.com", "http://example.com", True),
        ("example.com", "https://example.com:8443", True),
        ("example.com", "HTTPS://EXAMPLE.COM", True),
        ("Example.COM", "https://example.com", True),
        ("example.com", "https://example.com.", True),
        ("example.com", "https://example.com/", True),
        ("example.com", "https://sub.example.com", False),
        ("example.com", "https://example.com.evil.net", False),
        ("example.com", "https://notexample.com", False),
        ("example.com", "https://evil.net/example.com", False),
        ("example.com", "https://evil.net#example.com", False),
        ("example.com", "example.com", False),
        # A host and port.
        ("example.com:8000", "http://example.com:8000", True),
        ("example.com:8000", "http://example.com", False),
        ("example.com:443", "https://example.com", True),
        ("localhost:8000", "http://localhost:8000", True),
        # A domain with everything below it.
        (".example.com", "https://example.com", True),
        (".example.com", "https://a.b.example.com", True),
        (".example.com", "https://notexample.com", False),
        # Scheme, host and port.
        ("https://example.com", "https://example.com", True),
        ("https://example.com", "https://example.com:443", True),
        ("https://example.com:443", "https://example.com", True),
        ("http://example.com:80", "http://example.com", True),
        ("https://example.com", "http://example.com", False),
        ("https://example.com", "https://example.com:8443", False),
        ("https://example.com:8443", "https://example.com:8443", True),
        ("http://example.com:443", "https://example.com", False),
        ("https://.example.com", "https://a.example.com", True),
        ("https://.example.com:8443", "https://a.example.com:8443", True),
        ("https://.example.com", "https://a.example.com:8443", False),
        ("wss://example.com", "wss://example.com:443", True),
        # Schemes without a default port.
        ("chrome-extension://abcdef", "chrome-extension://abcdef", True),
        ("chrome-extension://abcdef", "chrome-extension://other", False),
        ("capacitor://localhost", "http://localhost", False),
        # Addresses.
        ("127.0.0.1", "http://127.0.0.1:8000", True),
        ("[::1]", "http://[::1]:8000", True),
        ("::1", "http://[::1]:8000", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("[::1]:8000", "http://[::1]:8001", False),
        ("http://[::1]:8000", "http://[::1]:8000", True),
        ("[::1]", "http://[::2]", False),
        # Regular expressions see the whole origin, from its start.
        (re.compile(r"https://\w+\.example\.com$"), "https://a.example.com", True),
        (re.compile(r"https://\w+\.example\.com$"), "https://a.example.com.evil.net", False),
        (re.compile(r"example"), "https://example.com", False),
        (re.compile(r"http://localhost:\d+$"), "http://localhost:5173", True),
        (re.compile(r"null$"), "null", True),
        # Entries that match nothing, as in Django.
        ("", "https://example.com", False),
        ("", "null", False),
        ("*.example.com", "https://a.example.com", False),
        ("example.com:*", "https://example.com", False),
    ],
)
async def test_patterns(pattern, origin, expected):
    assert await lets_in([pattern], origin) is expected
    assert await lets_in(["other.net", pattern], origin) is expected


RUBBISH = [
    b"",
    b"null",
    b"http://",
    b"://example.com",
    b"//example.com",
    b"\xff\xfe\x00",
    "http://ex\u00e4mple.com".encode(),
    b"http://exa\tmple.com",
    b"http://exam\nple.com",
    b"http://example.com:port",
    b"http://example.com:99999",
    b"http://[::1",
    b"http://example.com, http://evil.net",
    b"http://example.com http://evil.net",
    b"http://evil.net\\@example.com",
    b"http://user@example.com",
]


@pytest.mark.parametrize("origin", RUBBISH)
async def test_what_is_no_origin_comes_only_from_anywhere(origin):
    assert not await lets_in(["example.com", "http://.example.com"], origin)
    assert await lets_in(["*"], origin)


@given(st.binary(max_size=60))
async def test_no_bytes_break_it(origin):
    validator = OriginValidator(application, ["example.com", re.compile("https://a$")])
    assert await connect(validator, origin) in (DENIED, LET_IN)


@given(st.sampled_from("/?#\\@:, \t"), st.text("abc.:/@[]\\#?", max_size=12))
async def test_what_follows_the_host_cannot_pretend_to_be_it(separator, text):
    assert not await lets_in([".example.com"], f"https://evil.net{separator}{text}.example.com")


async def test_no_origin_is_refused_unless_everybody_may_come():
    assert await connect(OriginValidator(application, ["example.com"])) == DENIED
    assert await connect(OriginValidator(application, ["example.com", "*"])) == LET_IN


async def test_several_origins_are_refused_unless_everybody_may_come():
    origins = ["http://example.com", "http://example.com"]
    assert await connect(OriginValidator(application, ["example.com"]), *origins) == DENIED
    assert await connect(OriginValidator(application, ["*"]), *origins) == LET_IN


async def test_nobody_is_allowed_by_an_empty_list():
    assert not await lets_in([], "http://example.com")


@pytest.mark.parametrize("allowed", ["example.com", b"example.com", re.compile("."), [None], [7]])
def test_what_is_no_list_of_origins_is_refused_at_construction(allowed):
    with pytest.raises(ImproperlyConfigured, match="llowed"):
        OriginValidator(application, allowed)


@pytest.mark.parametrize("pattern", ["http://[::1", "http://localhost:*"])
def test_a_full_origin_that_cannot_be_read_is_refused_at_construction(pattern):
    with pytest.raises(ImproperlyConfigured, match=re.escape(repr(pattern))):
        OriginValidator(application, [pattern])


async def test_only_websockets():
    with pytest.raises(ValueError, match="'http'"):
        await connect(OriginValidator(application, ["*"]), type="http")


async def test_a_refusal_is_403_with_one_line_that_says_what_to_do(caplog):
    refused = []

    def on_refused(**arguments: Any) -> None:
        refused.append((arguments["sender"], arguments["status"]))

    signals.connection_refused.connect(on_refused)
    validator = OriginValidator(application, ["a.example", re.compile("b$")])
    try:
        with caplog.at_level(logging.DEBUG, logger="channels"):
            start, _ = await connect(validator, "http://evil.net", **SERVER)
    finally:
        signals.connection_refused.disconnect(on_refused)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert refused == [(OriginValidator, 403)]
    [line] = caplog.messages
    for words in ("/ws/", "'http://evil.net'", "a.example, b$", "allowed_origins"):
        assert words in line


@pytest.mark.parametrize(
    ("origins", "words"),
    [
        ([], "no Origin header"),
        (["http://a", "http://b"], "2 Origin headers"),
        ([b"\x1b[2J\nforged line"], "unusable Origin"),
        ([b"http://" + b"x" * 100_000], "is not allowed"),
    ],
)
async def test_the_line_is_one_short_printable_line(caplog, origins, words):
    await connect(OriginValidator(application, [f"{n}.net" for n in range(99)]), *origins, **SERVER)
    [line] = caplog.messages
    assert words in line
    assert line.isprintable()
    assert len(line) < 1000


async def test_overrides_of_subclasses_are_called():
    calls = []

    class Tenants(OriginValidator):
        def match_allowed_origin(self, parsed_origin: Any, pattern: Any) -> bool:
            calls.append((parsed_origin.hostname, pattern))
            return pattern == "tenants" and parsed_origin.hostname.startswith("tenant-")

    class Everybody(OriginValidator):
        def valid_origin(self, parsed_origin: Any) -> bool:
            return parsed_origin is None

    assert await connect(Tenants(application, ["tenants"]), "http://tenant-1.net") == LET_IN
    assert calls == [("tenant-1.net", "tenants")]
    assert await connect(Everybody(application, [])) == LET_IN


async def test_allowed_origins_may_change():
    validator = OriginValidator(application, ["a.net"])
    validator.allowed_origins.append("b.net")
    assert await connect(validator, "http://b.net") == LET_IN


# -- AllowedHostsOriginValidator


@override_settings(ALLOWED_HOSTS=["example.com", ".example.org", "[::1]"], DEBUG=False)
async def test_allowed_hosts(caplog):
    validator = AllowedHostsOriginValidator(application)
    assert isinstance(validator, OriginValidator)
    for origin in ("https://example.com:8000", "http://a.example.org", "http://[::1]:8000"):
        assert await connect(validator, origin) == LET_IN
    assert await connect(validator, "https://evil.net") == DENIED
    assert await connect(validator) == DENIED
    assert "'https://evil.net'" in caplog.messages[0]
    # It would not help who sends no origin.
    assert ["ALLOWED_HOSTS" in line for line in caplog.messages] == [True, False]


async def test_local_hosts_of_a_project_stay_allowed_in_its_tests():
    """Django's tests set ``ALLOWED_HOSTS`` and turn ``DEBUG`` off after the project was loaded."""
    with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
        validator = AllowedHostsOriginValidator(application)
    with override_settings(ALLOWED_HOSTS=["testserver"], DEBUG=False):
        assert await connect(validator, "http://localhost") == LET_IN
        assert await connect(validator, "http://testserver") == LET_IN
        assert await connect(validator, "http://a.net") == DENIED


@pytest.mark.parametrize(
    "origin", ["http://localhost:8000", "http://app.localhost", "http://127.0.0.1", "http://[::1]"]
)
async def test_no_allowed_hosts_means_local_ones_with_debug_and_none_without(origin):
    with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
        assert await connect(AllowedHostsOriginValidator(application), origin) == LET_IN
        assert await connect(AllowedHostsOriginValidator(application), "http://a.net") == DENIED
    with override_settings(ALLOWED_HOSTS=[], DEBUG=False):
        assert await connect(AllowedHostsOriginValidator(application), origin) == DENIED


@override_settings(ALLOWED_HOSTS=["", "localhost:*", "[::1", "example.com"], DEBUG=False)
async def test_hosts_that_django_cannot_match_either_stop_nothing():
    assert await connect(AllowedHostsOriginValidator(application), "http://example.com") == LET_IN


# -- WebsocketDenier


@pytest.mark.parametrize("denier", [WebsocketDenier(), WebsocketDenier.as_asgi()])
async def test_the_denier_denies(denier, caplog):
    assert await connect(denier) == DENIED
    start, _ = await connect(denier, **SERVER)
    assert start["status"] == 403
    assert len(caplog.messages) == 2
