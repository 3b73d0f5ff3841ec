"""What verifiers say and raise, and what of that gets out."""

import asyncio
import time

import pytest

from channels.exceptions import TokenRefused, VerifierUnavailable
from channels.security.tokens import Identity, verifying
from channels.security.tokens.verifying import TokenCredential, verify

from .helpers import ANNA, Known, User

SECRET = "s3cr3t-t0k3n"


async def test_the_first_that_knows_it_counts():
    first, second, third = Known(), Known(T9=Identity(ANNA)), Known(T9=Identity(User(2)))
    found = await verify([first, second, third], "T9")
    assert (found.user, found.verifier) == (ANNA, "Known")
    assert (first.asked, third.asked) == (["T9"], [])


@pytest.mark.parametrize(
    ("answers", "kind", "text"),
    [
        ([None], TokenRefused, "no verifier knows it"),
        ([TokenRefused("bad"), None], TokenRefused, "Known: bad"),
        ([TokenRefused("bad"), TokenRefused("late", expired=True)], TokenRefused, "Known: late"),
        ([TokenRefused("bad"), TokenRefused("worse")], TokenRefused, "Known: bad"),
        ([VerifierUnavailable("away"), TokenRefused("bad")], VerifierUnavailable, "Known: away"),
        ([VerifierUnavailable("a"), VerifierUnavailable("b")], VerifierUnavailable, "Known: a"),
        ([Identity(ANNA, time.time() - 1)], TokenRefused, "Known: the token has expired"),
        ([Identity(User(is_active=False))], TokenRefused, "Known: the user is not active"),
    ],
)
async def test_what_several_say(answers, kind, text):
    outcome = await verify([Known(T9=answer) for answer in answers], "T9")
    assert (type(outcome), str(outcome)) == (kind, text)


async def test_one_that_can_be_asked_makes_up_for_one_that_cannot():
    verifiers = [Known(T9=VerifierUnavailable("away")), Known(T9=Identity(ANNA))]
    assert (await verify(verifiers, "T9")).user is ANNA


async def test_what_can_be_no_token_is_asked_of_nobody():
    verifier = Known()
    assert "printable ASCII" in str(await verify([verifier], "a b"))
    assert verifier.asked == []


@pytest.mark.parametrize("kind", [TokenRefused, VerifierUnavailable, ValueError])
async def test_a_verifier_that_tells_the_token_is_not_quoted(kind, caplog):
    outcome = await verify([Known(**{SECRET: kind(f"{SECRET} is bad")})], SECRET)
    assert SECRET not in str(outcome) + repr(outcome) + caplog.text
    assert "[token] is bad" in str(outcome) + caplog.text
    assert outcome.__traceback__ is None


async def test_no_part_of_a_token_is_quoted_either(caplog):
    class Splitting:
        async def verify(self, token):
            header, payload, signature = token.split(".")
            raise ValueError(f"no JSON: {header}, {payload}; not signed with {signature}")

    await verify([Splitting()], "head.the-payload.the-signature")
    assert "no JSON: head, [token]; not signed with [token]" in caplog.text


@pytest.mark.parametrize("found", [ANNA, "anna", Identity(None)])
async def test_a_verifier_that_finds_something_else_has_failed(found, caplog):
    outcome = await verify([Known(T9=found)], "T9")
    assert str(outcome) == "Known has failed (TypeError)"
    assert "must return an Identity with a user" in caplog.text


async def test_a_verifier_that_does_not_answer_has_failed(monkeypatch):
    class Silent:
        async def verify(self, token):
            await asyncio.Event().wait()

    monkeypatch.setattr(verifying, "_PATIENCE", 0.01)
    outcome = await verify([Silent()], "T9")
    assert "Silent has failed (TimeoutError)" in str(outcome)


async def test_a_verifier_that_fails_says_where(caplog):
    outcome = await verify([Known(T9=ZeroDivisionError())], "T9")
    assert str(outcome) == "Known has failed (ZeroDivisionError)"
    assert "in verify" in caplog.text


async def test_a_newer_token_takes_the_place_of_the_older():
    user, later = User(), time.time() + 100
    changed, scope = [], {}
    user_again = user
    credential = TokenCredential(Identity(user), [Known(T9=Identity(user_again, later))])
    await credential.refresh(scope, "T9")
    credential.changed = lambda: changed.append(credential.expires_at)
    await credential.refresh(scope, "T9")
    assert (scope["user"], scope["token"].expires_at, changed) == (user, later, [later])
    assert not credential.by_session


@pytest.mark.parametrize(
    ("newer", "text"),
    [
        (Identity(User(2)), "another user's"),
        (TokenRefused("bad"), "bad"),
        (VerifierUnavailable("away"), "away"),
    ],
)
async def test_a_newer_token_that_is_not_good(newer, text):
    scope, credential = {}, TokenCredential(Identity(ANNA), [Known(T9=newer)])
    with pytest.raises((TokenRefused, VerifierUnavailable), match=text):
        await credential.refresh(scope, "T9")
    assert scope == {}


async def test_an_expired_token_is_not_prolonged():
    credential = TokenCredential(Identity(ANNA, time.time() - 1), [Known(T9=Identity(ANNA))])
    with pytest.raises(TokenRefused, match="before a newer one came") as caught:
        await credential.refresh({}, "T9")
    assert caught.value.expired
