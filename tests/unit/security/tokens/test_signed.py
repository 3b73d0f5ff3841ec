"""Tokens that Django signs."""

import re
import time
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.exceptions import InvalidArgument, TokenRefused
from channels.revocation import adisconnect_user
from channels.security.tokens import SignedTokenVerifier
from tests.asgi import until

from .helpers import Echo, application, bearer, connected, create_user, in_thread, refused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def anna():
    return await in_thread(create_user)


@pytest.fixture
def verifier():
    return SignedTokenVerifier()


async def test_a_token_says_who_it_is(verifier, anna):
    token = verifier.make_token(anna, claims={"device": "phone"})
    assert re.fullmatch(r"[\w.-]+", token)  # as headers, subprotocols and URLs may have it
    identity = await verifier.verify(token)
    assert (identity.user, identity.claims) == (anna, {"device": "phone"})
    assert 3590 < identity.expires_in <= 3600
    async with connected(application(verifier), bearer(token)):
        assert Echo.seen["user"] == anna


async def test_it_ends_with_its_time_its_password_and_its_user(verifier, anna):
    token = verifier.make_token(anna)
    ended, end = verifier.make_token(anna, lifetime=0.001), time.time() + 0.01
    await until(lambda: time.time() > end)
    with pytest.raises(TokenRefused, match="the token has expired") as caught:
        await verifier.verify(ended)
    assert caught.value.expired
    anna.set_password("other")
    await in_thread(anna.save)
    with pytest.raises(TokenRefused, match="the password has changed"):
        await verifier.verify(token)
    token = verifier.make_token(anna)
    anna.is_active = False
    await in_thread(anna.save)
    with pytest.raises(TokenRefused, match="the user is not active"):
        await verifier.verify(token)


async def test_keys_may_be_rotated(verifier, anna, settings):
    token = verifier.make_token(anna)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    assert (await verifier.verify(token)).user == anna
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(TokenRefused, match="the signature is not good"):
        await verifier.verify(token)


async def test_what_is_changed_or_was_made_for_something_else_is_refused(verifier, anna):
    token = verifier.make_token(anna)
    for wrong in (
        "x" + token,
        token + "x",
        token[:-1],
        "." + token.partition(".")[2],
        SignedTokenVerifier(salt="another").make_token(anna),
    ):
        with pytest.raises(TokenRefused):
            assert await verifier.verify(wrong) is None
            raise TokenRefused("not of this kind")
    assert await verifier.verify("a.b.c") is None
    assert await verifier.verify("abc") is None
    assert repr(verifier) == "SignedTokenVerifier()"


async def test_who_changes_the_password_or_leaves_is_disconnected(verifier, anna):
    """Others stay, whatever is saved of them."""
    berta = await in_thread(create_user, "berta")
    app = application(verifier)
    async with (
        connected(app, bearer(verifier.make_token(anna))) as server,
        connected(app, bearer(verifier.make_token(berta))) as other,
    ):
        anna.set_password("other")
        await in_thread(anna.save)
        await in_thread(berta.save)
        await until(lambda: server.sent[-1]["type"] == "websocket.close")
        assert server.sent[-1]["reason"] == "the password has changed"
        other.text("still there")
        await until(lambda: other.texts() == ["still there"])
        await in_thread(berta.delete)
        await until(lambda: other.sent[-1]["type"] == "websocket.close")
        assert other.sent[-1]["code"] == 4401


async def test_it_can_be_disconnected_by_hand(verifier, anna):
    async with connected(application(verifier), bearer(verifier.make_token(anna))) as server:
        await adisconnect_user(anna)
        await until(lambda: server.sent[-1]["type"] == "websocket.close")
        assert server.sent[-1]["code"] == 4401


async def test_the_signature_is_looked_at_before_the_content(verifier):
    forged = verifier._signer().sign_object({"user": "1", "exp": time.time() + 9}).split(".")
    assert (await refused(application(verifier), bearer(f"{forged[0]}.x")))[0] == 401


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lifetime": -1}, "lifetime must be a number of seconds above 0"),
        ({"lifetime": timedelta(hours=1)}, "write total_seconds"),
        ({"claims": [1]}, "claims must be a dict or another mapping"),
        ({"claims": {"room": object()}}, "claims must be what JSON can say: Object of type object"),
    ],
)
async def test_what_no_token_can_say(verifier, anna, wrong, told):
    with pytest.raises(InvalidArgument, match=told):
        verifier.make_token(anna, **wrong)


@pytest.mark.parametrize("salt", ["", None])
def test_a_salt_is_text(salt):
    with pytest.raises(ImproperlyConfigured, match="salt must be text"):
        SignedTokenVerifier(salt=salt)
