"""JSON Web Tokens, good ones and forged ones."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.exceptions import TokenRefused, VerifierUnavailable
from channels.security.tokens import JWTVerifier

from .helpers import Echo, application, bearer, connected, create_user, in_thread, refused
from .keys import Issuer, pair

SECRET = "a secret of more than thirty-two bytes"


@pytest.fixture
async def anna(transactional_db):
    return await in_thread(create_user)


def claims(**more):
    return {"sub": "anna", "exp": time.time() + 100, **more}


def signed(key=SECRET, algorithm="HS256", headers=None, **more):
    return jwt.encode(claims(**more), key, algorithm, headers)


def verifier(**options):
    return JWTVerifier(
        **{"key": SECRET, "algorithms": ["HS256"], **options, "user_field": "username"}
    )


async def test_a_good_one(anna):
    identity = await verifier().verify(signed(room="red"))
    assert (identity.user, identity.claims["room"]) == (anna, "red")
    assert 99 < identity.expires_in < 100
    async with connected(application(verifier()), bearer(signed())):
        assert Echo.seen["user"] == anna
    assert "red" not in repr(identity)
    assert identity.token_id is None
    assert (await verifier(id_claim="room").verify(signed(room="red"))).token_id == "red"
    assert (await verifier().verify(signed(jti="one"))).token_id == "one"


async def test_a_pair_of_keys(anna):
    private, public = pair("a")
    rs = verifier(key=public, algorithms=["RS256", "RS512"])
    assert (await rs.verify(signed(private, "RS256"))).user == anna
    with pytest.raises(TokenRefused, match="InvalidSignatureError"):
        await rs.verify(signed(pair("b")[0], "RS256"))


def raw(header, payload, sign=lambda content: b""):
    parts = [
        json.dumps(it).encode() if not isinstance(it, bytes) else it for it in (header, payload)
    ]
    content = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(sign(content)).rstrip(b"=")
    return (content + b"." + signature).decode()


def with_secret(key):
    return lambda content: hmac.new(key.encode(), content, hashlib.sha256).digest()


@pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
async def test_a_token_does_not_choose_that_nothing_is_signed(name):
    for token in (raw({"alg": name}, claims()), raw({"alg": name}, claims(), with_secret(SECRET))):
        with pytest.raises(TokenRefused, match="PyJWT does not accept it"):
            await verifier().verify(token)


async def test_a_public_key_is_no_secret():
    public = pair("a")[1]
    forged = raw({"alg": "HS256"}, claims(), with_secret(public))
    with pytest.raises(TokenRefused, match="InvalidAlgorithmError"):
        await verifier(key=public, algorithms=["RS256"]).verify(forged)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"exp": 0}, "has expired"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"exp": "soon"}, "DecodeError"),
        ({"exp": [5]}, "does not accept"),
        ({"sub": None}, "MissingRequiredClaimError"),
        ({"nbf": time.time() + 1e6}, "ImmatureSignatureError"),
        ({"iss": "somebody"}, "InvalidIssuerError"),
        ({"aud": "something"}, "InvalidAudienceError"),
        ({"sub": "nobody"}, "the user is gone"),
    ],
)
async def test_bad_claims(more, reason, anna):
    good = {"iss": "me", "aud": "chat"}
    strict = verifier(issuer="me", audience=["chat", "call"])
    assert (await strict.verify(signed(**good))).user == anna
    content = {key: value for key, value in claims(**{**good, **more}).items() if value is not None}
    with pytest.raises(TokenRefused, match=reason):
        await strict.verify(raw({"alg": "HS256"}, content, with_secret(SECRET)))


async def test_a_token_for_another_audience_is_refused_unless_it_is_named():
    with pytest.raises(TokenRefused, match="InvalidAudienceError"):
        await verifier().verify(signed(aud="something"))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub": "anna", "exp": 1e999}',
        b'{"sub": "anna", "exp": NaN}',
        b"[" * 3000,
        b"[]",
        b"null",
        b"\xff",
        b'{"sub": "anna", "exp": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_no_parser_takes(payload):
    with pytest.raises(TokenRefused, match="PyJWT does not accept it"):
        await verifier().verify(raw({"alg": "HS256"}, payload, with_secret(SECRET)))


async def test_clocks_may_differ(anna):
    late = signed(exp=time.time() - 5)
    identity = await verifier(leeway=10).verify(late)
    assert (identity.user, 4 < identity.expires_in < 5) == (anna, True)
    with pytest.raises(TokenRefused) as caught:
        await verifier().verify(late)
    assert caught.value.expired


async def test_keys_of_an_issuer(anna):
    issuer = Issuer("a")
    with issuer.running() as url:
        published = verifier(key=None, jwks_url=url, algorithms=["RS256"])
        token = signed(pair("a")[0], "RS256", {"kid": "a", "jku": "http://evil.example"})
        assert (await published.verify(token)).user == anna
        for wrong in (
            signed(pair("b")[0], "RS256", {"kid": "a"}),
            signed(pair("b")[0], "RS256", {"kid": "b"}),
            raw({"alg": "HS256", "kid": "a"}, claims(), with_secret(pair("a")[1])),
        ):
            with pytest.raises(TokenRefused):
                await published.verify(wrong)
        with pytest.raises(TokenRefused, match="it is no JSON Web Token"):
            await published.verify("a.b.c")
    away = verifier(key=None, jwks_url=url, algorithms=["RS256"])
    with pytest.raises(VerifierUnavailable):
        await away.verify(token)
    assert (await refused(application(away), bearer(token)))[0] == 503


class Making(JWTVerifier):
    async def get_user(self, claims):
        return await in_thread(create_user, claims["sub"])


async def test_users_may_be_made(transactional_db):
    making = Making(SECRET, algorithms=["HS256"])
    assert (await making.verify(signed(sub="new"))).user.username == "new"
    assert repr(making) == "Making(algorithms=['HS256'])"


async def test_other_tokens_are_left_to_others():
    assert await verifier().verify("abc") is None


@pytest.mark.parametrize(
    "algorithms", [[], ["none"], ["None", "RS256"], ["HS256", "RS256"], "", "RS265"]
)
def test_algorithms_are_of_one_kind(algorithms):
    with pytest.raises(ImproperlyConfigured, match="algorithms of JWTVerifier must be"):
        verifier(algorithms=algorithms)


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": "HS256"},
        {"key": "x", "jwks_url": "https://example.com", "algorithms": "RS256"},
        {"jwks_url": "https://example.com", "algorithms": "HS256"},
    ],
)
def test_there_is_one_source_of_keys(options):
    with pytest.raises(ImproperlyConfigured, match="needs a key, or for algorithms with a pair"):
        JWTVerifier(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"algorithms": None}, "algorithms of JWTVerifier must be"),
        ({"leeway": -1}, "leeway of JWTVerifier must be a number of seconds from 0"),
        ({"leeway": "1"}, "leeway of JWTVerifier must be a number of seconds from 0"),
        ({"audience": 5}, "audience of JWTVerifier must be text, or a list of texts, not 5"),
        ({"issuer": 5}, "issuer of JWTVerifier must be text"),
        ({"user_claim": None}, "user_claim must be text"),
        ({"id_claim": ""}, "id_claim must be text"),
    ],
)
def test_what_cannot_be_compared_with_claims(options, told):
    with pytest.raises(ImproperlyConfigured, match=told):
        verifier(**options)
    with pytest.raises(ImproperlyConfigured, match="user_field must be text"):
        JWTVerifier(SECRET, algorithms="HS256", user_field="")
