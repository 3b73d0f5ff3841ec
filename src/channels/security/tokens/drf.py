"""Tokens of Django REST framework: of its authtoken, and of simplejwt."""

import functools
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.core.exceptions import ValidationError

from ...db import database_sync_to_async
from ...exceptions import TokenRefused, VerifierUnavailable
from .base import Identity
from .packages import package
from .users import id_in

__all__ = ["DRFTokenVerifier", "SimpleJWTVerifier"]

# What a claim may be that no lookup in the database takes.
_NO_LOOKUP = (TypeError, ValueError, ValidationError, OverflowError)


class DRFTokenVerifier:
    """Verifies the tokens of ``rest_framework.authtoken``, or of a subclass of its authentication.

    They do not expire. In the header, they may stand behind the word ``Token`` too. A connection
    ends when its token is deleted.

    Args:
        authentication: a subclass of ``TokenAuthentication``, if yours is one.

    Raises:
        ImproperlyConfigured: at construction, if Django REST framework is missing.
    """

    def __init__(self, authentication: type[Any] | None = None) -> None:
        drf = package("rest_framework.authentication", self, "djangorestframework")
        self._failed: type[Exception] = drf.exceptions.AuthenticationFailed
        self._authentication: Any = (authentication or drf.TokenAuthentication)()
        #: The words before the token in the header ``Authorization``.
        self.schemes = ("Bearer", self._authentication.keyword)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @staticmethod
    def token_id(token: Any) -> str:
        """What stands for a token of ``authtoken`` in ``disconnect_token()`` and ``make_ticket()``.

        Args:
            token: the row, as in ``request.auth``.
        """
        return hashlib.sha256(str(token.key).encode()).hexdigest()

    async def verify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is longer than any.

        Raises:
            TokenRefused: it is unknown, or the user is not active.
        """
        longest = self._authentication.get_model()._meta.get_field("key").max_length
        if longest is not None and len(token) > longest:
            return None
        return await self._look_up(token)

    @database_sync_to_async
    def _look_up(self, token: str) -> Identity:
        try:
            user, row = self._authentication.authenticate_credentials(token)
        except self._failed as error:
            raise TokenRefused(f"Django REST framework does not accept it ({error})") from None
        if not hasattr(row, "key") or not hasattr(row, "user_id"):  # of a subclass
            return Identity(user)
        token_id = self.token_id(row)
        is_gone = functools.partial(self._is_gone, type(row), row.user_id, token_id)
        return Identity(user, token_id=token_id, is_revoked=is_gone)

    def _is_gone(self, model: Any, user_id: Any, token_id: str) -> bool:
        """Whether the user has this token no longer. Its key, which is the token, is not kept."""
        rows = model._base_manager.filter(user_id=user_id).only("key")
        return all(self.token_id(row) != token_id for row in rows)


class SimpleJWTVerifier:
    """Verifies the tokens of djangorestframework-simplejwt, as its settings (``SIMPLE_JWT``) say.

    Args:
        authentication: a subclass of its ``JWTAuthentication``, whose ``get_user()`` finds users.
            ``JWTStatelessUserAuthentication`` asks no database.
        id_claim: the claim that ``disconnect_token()`` names tokens by; that of its setting
            ``JTI_CLAIM`` if it is None.

    Raises:
        ImproperlyConfigured: at construction, if the package is missing.
    """

    def __init__(
        self, authentication: type[Any] | None = None, *, id_claim: str | None = None
    ) -> None:
        install = "djangorestframework-simplejwt"
        module = package("rest_framework_simplejwt.authentication", self, install)
        exceptions = package("rest_framework_simplejwt.exceptions", self, install)
        self._settings: Any = module.api_settings
        self._bad: type[Exception] = exceptions.TokenError
        self._expired: type[Exception] = exceptions.ExpiredTokenError
        self._failed: type[Exception] = exceptions.AuthenticationFailed
        self._away: type[Exception] = package("jwt", self, install).PyJWKClientConnectionError
        self._authentication: Any = (authentication or module.JWTAuthentication)()
        self._id_claim = id_claim

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def schemes(self) -> Sequence[str]:
        """The words before the token in the header ``Authorization``."""
        types = self._settings.AUTH_HEADER_TYPES
        return ("Bearer", *((types,) if isinstance(types, str) else types))

    async def verify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is no JSON Web Token.

        Raises:
            TokenRefused: it is not good.
            VerifierUnavailable: the keys at ``JWK_URL`` cannot be fetched.
        """
        if token.count(".") != 2:
            return None
        # Where keys may have to be fetched, others do not wait behind that.
        verify = database_sync_to_async(
            self._verify, thread_sensitive=self._settings.JWK_URL is None
        )
        return await verify(token.encode())

    def _verify(self, token: bytes) -> Identity:
        validated = self._validated(token)
        try:
            user = self._authentication.get_user(validated)
        except (self._failed, *_NO_LOOKUP) as error:
            raise TokenRefused(f"simplejwt does not accept its user ({error})") from None
        leeway = self._settings.LEEWAY or 0
        if isinstance(leeway, timedelta):
            leeway = leeway.total_seconds()
        jti, is_blocked = self._settings.JTI_CLAIM, None
        if hasattr(validated, "check_blacklist"):  # and not for access tokens, which no list has
            is_blocked = functools.partial(_is_blocked, validated.payload.get(jti))
        return Identity(
            user,
            float(validated["exp"]) + leeway,
            dict(validated.payload),
            token_id=id_in(validated.payload, self._id_claim or jti),
            is_revoked=is_blocked,
        )

    def _validated(self, token: bytes) -> Any:
        """The token as an object of the first of ``AUTH_TOKEN_CLASSES`` that accepts it."""
        refusal = TokenRefused("AUTH_TOKEN_CLASSES of SIMPLE_JWT is empty")
        for kind in self._settings.AUTH_TOKEN_CLASSES:
            try:
                return kind(token)
            except self._expired:
                refusal = TokenRefused("the token has expired", expired=True)
            except (self._bad, *_NO_LOOKUP, RecursionError) as error:
                if self._could_not_ask(error):
                    raise VerifierUnavailable("the keys at JWK_URL cannot be fetched") from None
                refusal = TokenRefused(f"it is no {kind.__name__} of simplejwt ({error})")
        raise refusal

    def _could_not_ask(self, error: BaseException | None) -> bool:
        while error is not None:
            if isinstance(error, self._away):
                return True
            error = error.__cause__
        return False


def _is_blocked(jti: Any) -> bool:
    """Whether the list of blocked tokens has one of this name."""
    models = import_module("rest_framework_simplejwt.token_blacklist.models")
    found: bool = models.BlacklistedToken._base_manager.filter(token__jti=jti).exists()
    return found
