"""JSON Web Tokens of any issuer, verified by PyJWT."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..._runtime.arguments import as_text
from ...db import database_sync_to_async
from ...exceptions import TokenRefused
from .base import Identity
from .jwks import KeySet
from .packages import package
from .users import id_in, user_by

__all__ = ["JWTVerifier"]


class JWTVerifier:
    """Verifies JSON Web Tokens. Each must have an expiry.

    Which key and which algorithm count is said here, and nothing that a token says about that is
    believed.

    Args:
        key: what the issuer's signatures are verified with: a secret for HS256 and its like, else
            the public key, as PEM.
        algorithms: those that the issuer signs with, such as ``["RS256"]``. All are of one kind:
            with a secret, or with a pair of keys.
        jwks_url: where the issuer publishes its public keys, in place of ``key``. They are fetched
            when they are needed, and kept for five minutes.
        issuer: what the claim ``iss`` has to be, or several of which it has to be one.
        audience: what the claim ``aud`` has to have in it, or several of which one is enough. A
            token with an audience is refused where none is given here.
        leeway: seconds by which clocks may differ.
        user_claim: the claim that says who the user is.
        user_field: the field of the user model that it is compared with.
        id_claim: the claim that :func:`~channels.revocation.disconnect_token` names tokens by.

    Raises:
        ImproperlyConfigured: at construction, if these do not fit together or PyJWT is missing.
    """

    def __init__(
        self,
        key: str | bytes | None = None,
        *,
        algorithms: Iterable[str],
        jwks_url: str | None = None,
        issuer: str | Sequence[str] | None = None,
        audience: str | Iterable[str] | None = None,
        leeway: float = 0.0,
        user_claim: str = "sub",
        user_field: str = "pk",
        id_claim: str = "jti",
    ) -> None:
        if type(leeway) not in (int, float) or not 0 <= leeway < 1e6:
            raise ImproperlyConfigured(
                "leeway of JWTVerifier must be a number of seconds from 0, such as 10, not "
                f"{leeway!r}."
            )
        for name, value in (("issuer", issuer), ("audience", audience)):
            if value is not None and not isinstance(value, str | Iterable):
                raise ImproperlyConfigured(
                    f"{name} of JWTVerifier must be text, or a list of texts, not {value!r}."
                )
        for name, claim in {"user_claim": user_claim, "user_field": user_field}.items():
            as_text(name, claim, "'username'", ImproperlyConfigured)
        as_text("id_claim", id_claim, "'jti'", ImproperlyConfigured)
        self._jwt = package("jwt", self, "channels[jwt]")
        self._algorithms = _checked(algorithms, self._jwt.algorithms.get_default_algorithms())
        secret = any(name.startswith("HS") for name in self._algorithms)
        if (not key) is (not jwks_url) or (secret and jwks_url):
            raise ImproperlyConfigured(
                "JWTVerifier needs a key, or for algorithms with a pair of keys a jwks_url; one of "
                "the two."
            )
        self._key = key
        self._keys = KeySet(jwks_url, self._jwt) if jwks_url else None
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._user_claim = user_claim
        self._user_field = user_field
        self._id_claim = id_claim
        self._options = {"require": ["exp", user_claim]}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(algorithms={self._algorithms})"

    async def get_user(self, claims: dict[str, Any]) -> Any:
        """The user that good claims are about. Override it to make new ones, for instance.

        Raises:
            TokenRefused: there is none.
        """
        find = database_sync_to_async(user_by)
        return await find(self._user_field, claims[self._user_claim])

    async def verify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is no JSON Web Token.

        Raises:
            TokenRefused: it is not good.
            VerifierUnavailable: the issuer's keys cannot be fetched.
        """
        if token.count(".") != 2:
            return None
        key = self._key if self._keys is None else await self._keys.find(self._key_id(token))
        claims = self._decode(token, key)
        user = await self.get_user(claims)
        expires_at = float(claims["exp"]) + self._leeway
        return Identity(user, expires_at, claims, token_id=id_in(claims, self._id_claim))

    def _key_id(self, token: str) -> Any:
        try:
            return self._jwt.get_unverified_header(token).get("kid")
        except Exception:  # noqa: BLE001 - of whatever a client has sent
            raise TokenRefused("it is no JSON Web Token") from None

    def _decode(self, token: str, key: Any) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options=self._options,
            )
        except self._jwt.ExpiredSignatureError:
            raise TokenRefused("the token has expired", expired=True) from None
        except Exception as error:  # noqa: BLE001 - numbers and nesting that no parser takes, too
            raise TokenRefused(f"PyJWT does not accept it ({type(error).__name__})") from None
        return claims


def _checked(algorithms: Any, known: Iterable[str]) -> list[str]:
    several = isinstance(algorithms, Iterable) and not isinstance(algorithms, str)
    names = [str(name) for name in algorithms] if several else [str(algorithms)]
    kinds = {name.startswith("HS") for name in names}
    if not set(names) <= set(known) - {"none"} or len(kinds) != 1:
        raise ImproperlyConfigured(
            "algorithms of JWTVerifier must be those that the issuer signs with, such as "
            "['RS256'], or ['HS256'] with a secret; not both, not 'none', and none that PyJWT does "
            f"not know: {names!r}."
        )
    return names
