"""Keys that an issuer publishes: fetched as seldom as possible, and kept while it is away."""

import asyncio

import jwt
import pytest

from channels.exceptions import TokenRefused, VerifierUnavailable
from channels.security.tokens import jwks
from channels.security.tokens.jwks import KeySet
from tests.asgi import until

from .keys import Issuer


@pytest.fixture
def clock(monkeypatch):
    """Seconds that are added to the clock."""
    real, clock = jwks.now, {"later": 0.0}
    monkeypatch.setattr(jwks, "now", lambda: real() + clock["later"])
    return clock


async def test_keys_are_fetched_once():
    issuer = Issuer("a", "b")
    with issuer.running() as url:
        keys = KeySet(url, jwt)
        found = await asyncio.gather(*[keys.find("a") for _ in range(10)])
        assert len(set(map(id, found))) == 1
        assert await keys.find("b") is not found[0]
        assert issuer.asked == 1


async def test_one_that_is_unknown_is_asked_for_after_a_pause(clock):
    issuer = Issuer("a")
    with issuer.running() as url:
        keys = KeySet(url, jwt)
        for _ in range(10):
            with pytest.raises(TokenRefused, match="no key of that identifier"):
                await keys.find("b")
        assert issuer.asked == 1
        issuer.names = ("a", "b")
        clock["later"] = 11.0
        assert await keys.find("b") is not None
        assert issuer.asked == 2


async def test_without_an_identifier_there_must_be_one_key(clock):
    issuer = Issuer("a")
    with issuer.running() as url:
        keys = KeySet(url, jwt)
        assert await keys.find(None) is await keys.find("a")
        issuer.names = ("a", "b")
        clock["later"] = 400.0
        await keys.find("a")
        with pytest.raises(TokenRefused):
            await keys.find(None)
        with pytest.raises(TokenRefused, match="is no text"):
            await keys.find(["a"])


async def test_while_the_issuer_is_away_its_keys_are_good_for_a_day(clock):
    issuer = Issuer("a")
    with issuer.running() as url:
        keys = KeySet(url, jwt)
        await keys.find("a")
        issuer.names = None
        clock["later"] = 400.0
        assert await keys.find("a") is not None
        with pytest.raises(VerifierUnavailable, match=r"cannot be fetched \(PyJWKClientConn"):
            await keys.find("b")
        assert issuer.asked == 2
        clock["later"] = 90000.0
        with pytest.raises(VerifierUnavailable):
            await keys.find("a")
        issuer.names = ("a",)
        clock["later"] = 90020.0
        assert await keys.find("a") is not None


async def test_nobody_waits_for_an_issuer_that_hangs_if_the_key_is_known(clock):
    issuer = Issuer("a")
    with issuer.running() as url:
        keys = KeySet(url, jwt)
        known = await keys.find("a")
        issuer.names = None
        clock["later"] = 400.0
        assert await keys.find("a") is known
        issuer.names = ("a",)
        issuer.answers.clear()
        clock["later"] = 420.0
        asked_at = keys._asked_at
        assert await keys.find("a") is known
        assert keys._asked_at == asked_at  # it is still being asked
        issuer.answers.set()
        await until(lambda: keys._asked_at > asked_at)
        assert await keys.find("a") is not known
        assert issuer.asked == 3


async def test_an_issuer_that_was_never_there():
    with Issuer("a").running() as url:
        pass
    with pytest.raises(VerifierUnavailable):
        await KeySet(url, jwt).find("a")
