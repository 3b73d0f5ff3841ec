"""Tokens that Django signs: no table, no other package."""

import time
from collections.abc import Mapping
from typing import Any

from django.core import signing
from django.core.exceptions import ImproperlyConfigured

from ..._runtime.arguments import as_seconds, as_text, shown
from ...db import database_sync_to_async
from ...exceptions import InvalidArgument, TokenRefused
from .base import Identity
from .users import fingerprint, key_of, user_by, verify_fingerprint

__all__ = ["SignedTokenVerifier"]


class SignedTokenVerifier:
    """Makes tokens that are signed with ``SECRET_KEY``, and verifies them.

    Whoever has a token can read what is in it (the user's primary key and the claims), and change
    nothing. It ends with its lifetime, with the user's password, and with the key that has signed
    it: keys in ``SECRET_KEY_FALLBACKS`` are still good.

    Args:
        salt: of the signature. With another one, tokens that were made for one thing are not good
            for another.

    Raises:
        ImproperlyConfigured: at construction, if it is no text.
    """

    def __init__(self, *, salt: str = "channels.security.tokens") -> None:
        self._salt = as_text("salt", salt, '"myapp.tokens"', ImproperlyConfigured)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def make_token(
        self, user: Any, *, lifetime: float = 3600.0, claims: Mapping[str, Any] | None = None
    ) -> str:
        """A token for ``user``, of characters that headers, subprotocols and URLs may have.

        Args:
            user: a user with a primary key.
            lifetime: seconds for which it is good.
            claims: what else it says, as JSON can; for ``scope["token"].claims``.

        Raises:
            InvalidArgument: one of these is not what it should be; says what to write.
        """
        content: dict[str, Any] = {
            "user": key_of(user),
            "exp": round(time.time() + as_seconds("lifetime", lifetime), 3),
            "password": fingerprint(user),
        }
        if claims is not None and not isinstance(claims, Mapping):
            raise InvalidArgument(f"claims must be a dict or another mapping, not {shown(claims)}")
        if claims:
            content["claims"] = dict(claims)
        try:
            return self._signer().sign_object(content)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"claims must be what JSON can say: {error}") from error

    async def verify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is not signed in this way at all.

        Raises:
            TokenRefused: the signature is not good, or the user's password has changed, and so on.
        """
        if token.count(".") != 1:
            return None
        try:
            content = self._signer().unsign_object(token)
        except signing.BadSignature:
            raise TokenRefused("the signature is not good") from None
        if content["exp"] <= time.time():
            raise TokenRefused("the token has expired", expired=True)
        user = await self._user(content)
        return Identity(user, content["exp"], content.get("claims", {}))

    @database_sync_to_async
    def _user(self, content: dict[str, Any]) -> Any:
        user = user_by("pk", content["user"])
        verify_fingerprint(user, content["password"])
        return user

    def _signer(self) -> signing.Signer:
        return signing.Signer(salt=self._salt, sep=".")  # browsers refuse subprotocols with a ":"
