"""The tokens of Django REST framework, and of simplejwt as its settings say."""

import time
from datetime import timedelta

import jwt
import pytest
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication, api_settings
from rest_framework_simplejwt.state import token_backend
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from channels.exceptions import TokenRefused, VerifierUnavailable
from channels.security.tokens import DRFTokenVerifier, SimpleJWTVerifier

from .helpers import Echo, application, bearer, connected, create_user, in_thread, refused
from .keys import Issuer, pair

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def anna():
    return await in_thread(create_user)


# authtoken


class Keyword(TokenAuthentication):
    keyword = "Key"


async def test_authtoken(anna):
    token = await in_thread(Token.objects.create, user=anna)
    app = application(DRFTokenVerifier())
    for headers in (bearer(token.key), [(b"authorization", f"Token {token.key}".encode())]):
        async with connected(app, headers):
            assert Echo.seen["user"] == anna
            assert token.key not in repr(Echo.seen)
    assert DRFTokenVerifier(Keyword).schemes == ("Bearer", "Key")
    assert repr(DRFTokenVerifier()) == "DRFTokenVerifier()"


class WithoutRow(TokenAuthentication):
    def authenticate_credentials(self, key):
        user, _ = super().authenticate_credentials(key)
        return user, {"scope": "all"}


async def test_the_name_of_an_authtoken_is_not_the_token(anna):
    token = await in_thread(Token.objects.create, user=anna)
    identity = await DRFTokenVerifier().verify(token.key)
    assert identity.token_id == DRFTokenVerifier.token_id(token) != token.key
    assert await in_thread(identity.is_revoked) is False
    await in_thread(Token.objects.filter(pk=token.key).delete)
    assert await in_thread(identity.is_revoked) is True


async def test_an_authentication_that_says_nothing_of_the_row(anna):
    token = await in_thread(Token.objects.create, user=anna)
    identity = await DRFTokenVerifier(WithoutRow).verify(token.key)
    assert (identity.user, identity.token_id, identity.is_revoked) == (anna, None, None)


async def test_authtoken_that_is_not_good(anna):
    verifier = DRFTokenVerifier()
    with pytest.raises(TokenRefused, match=r"does not accept it \(Invalid token"):
        await verifier.verify("x" * 40)
    assert await verifier.verify("x" * 41) is None
    token = await in_thread(Token.objects.create, user=anna)
    anna.is_active = False
    await in_thread(anna.save)
    with pytest.raises(TokenRefused, match="inactive"):
        await verifier.verify(token.key)


# simplejwt


@pytest.fixture
def simple(monkeypatch):
    """Changes settings of simplejwt, which reads SIMPLE_JWT once."""

    def simple(**settings):
        for name, value in settings.items():
            monkeypatch.setattr(api_settings, name, value)

    return simple


async def verify(token, **options):
    return await SimpleJWTVerifier(**options).verify(str(token))


async def test_simplejwt(anna):
    token = await in_thread(AccessToken.for_user, anna)
    token["room"] = "red"
    identity = await verify(token)
    assert (identity.user, identity.claims["room"]) == (anna, "red")
    assert (identity.token_id, identity.is_revoked) == (token["jti"], None)
    assert (await verify(token, id_claim="room")).token_id == "red"
    assert 290 < identity.expires_in <= 300
    async with connected(application(SimpleJWTVerifier()), bearer(str(token))):
        assert Echo.seen["user"] == anna
    assert await verify("abc") is None
    assert repr(SimpleJWTVerifier()) == "SimpleJWTVerifier()"


async def test_simplejwt_refuses_refresh_tokens_strangers_and_the_late(anna):
    refresh = await in_thread(RefreshToken.for_user, anna)
    with pytest.raises(TokenRefused, match="it is no AccessToken of simplejwt"):
        await verify(refresh)
    late = AccessToken.for_user(anna)
    late.set_exp(lifetime=timedelta(seconds=-5))
    with pytest.raises(TokenRefused) as caught:
        await verify(late)
    assert caught.value.expired
    with pytest.raises(TokenRefused):
        await verify(AccessToken.for_user(anna).token or "a.b.c")
    for claim in ("nobody", [1], {}, None):
        token = AccessToken()
        token["user_id"] = claim
        with pytest.raises(TokenRefused, match="does not accept its user"):
            await verify(token)
    with pytest.raises(TokenRefused, match="does not accept its user"):
        await verify(AccessToken())
    anna.is_active = False
    await in_thread(anna.save)
    with pytest.raises(TokenRefused, match="does not accept its user"):
        await verify(AccessToken.for_user(anna))


async def test_the_settings_of_simplejwt_count(anna, simple):
    simple(
        USER_ID_FIELD="username",
        USER_ID_CLAIM="name",
        AUTH_HEADER_TYPES="JWT",
        LEEWAY=timedelta(seconds=20),
        CHECK_REVOKE_TOKEN=True,
    )
    assert SimpleJWTVerifier().schemes == ("Bearer", "JWT")
    token = AccessToken.for_user(anna)
    identity = await verify(token)
    assert (identity.user, 310 < identity.expires_in <= 320) == (anna, True)
    anna.set_password("other")
    await in_thread(anna.save)
    with pytest.raises(TokenRefused, match="password"):
        await verify(token)
    simple(AUTH_TOKEN_CLASSES=())
    with pytest.raises(TokenRefused, match="is empty"):
        await verify(token)


async def test_simplejwt_without_a_database(anna):
    identity = await verify(
        AccessToken.for_user(anna), authentication=JWTStatelessUserAuthentication
    )
    assert (identity.user.pk, type(identity.user).__name__) == (str(anna.pk), "TokenUser")


async def test_keys_that_simplejwt_fetches(anna, simple, monkeypatch):
    issuer = Issuer("a")
    with issuer.running() as url:
        simple(JWK_URL=url)
        monkeypatch.setattr(token_backend, "algorithm", "RS256")
        monkeypatch.setattr(token_backend, "jwks_client", jwt.PyJWKClient(url, cache_jwk_set=False))
        content = {
            "user_id": anna.pk,
            "exp": time.time() + 100,
            "token_type": "access",
            "jti": "x",
        }
        token = jwt.encode(content, pair("a")[0], "RS256", {"kid": "a"})
        assert (await verify(token)).user == anna
        issuer.names = None
        with pytest.raises(VerifierUnavailable, match="the keys at JWK_URL cannot be fetched"):
            await verify(token)
        assert (await refused(application(SimpleJWTVerifier()), bearer(token)))[0] == 503
