"""Asks verifiers, and lets nothing of a token get out with what they raise."""

import dataclasses
import logging
import re
import time
import traceback
from collections.abc import Iterable
from typing import Any, TypeAlias

from ..._runtime import lograte, timers
from ..._runtime.types import Scope
from ...exceptions import TokenRefused, VerifierUnavailable
from .base import Identity, Verifier
from .reading import acceptable

__all__ = ["Outcome", "TokenCredential", "are_alike", "install", "verify"]

logger = logging.getLogger("channels.tokens")

# Seconds that a verifier has to answer.
_PATIENCE = 10.0

# Characters from which on a token, or a part of one, is looked for in what verifiers say.
_TELLING = 8

#: What became of a token. Exceptions are returned: raised, they would carry frames that know it.
Outcome: TypeAlias = Identity | TokenRefused | VerifierUnavailable


async def verify(verifiers: Iterable[Verifier], token: str) -> Outcome:
    """Ask one verifier after the other whose token it is."""
    refusal: TokenRefused | None = None
    unavailable: VerifierUnavailable | None = None
    if not acceptable(token):
        return TokenRefused("it is empty, too long, or not of printable ASCII")
    for verifier in verifiers:
        outcome = await _ask(verifier, token)
        if isinstance(outcome, Identity):
            return outcome
        if isinstance(outcome, VerifierUnavailable):
            unavailable = unavailable or outcome
        elif outcome is not None and (refusal is None or outcome.expired):
            refusal = outcome
    return unavailable or refusal or TokenRefused("no verifier knows it")


async def _ask(verifier: Verifier, token: str) -> Outcome | None:
    name = type(verifier).__qualname__
    try:
        async with timers.timeout(_PATIENCE):
            found = await verifier.verify(token)
        return None if found is None else _judged(found, name)
    except TokenRefused as error:
        return TokenRefused(_without(token, f"{name}: {error}"), expired=error.expired)
    except VerifierUnavailable as error:
        return VerifierUnavailable(_without(token, f"{name}: {error}"))
    except Exception as error:  # noqa: BLE001 - of the project's verifier, database and so on
        trace = _without(token, "".join(traceback.format_exception(error)))
        text = "The verifier %s has failed:\n%s"
        lograte.log(logger, logging.ERROR, name, text, name, trace)
        return VerifierUnavailable(f"{name} has failed ({type(error).__name__})")


def _judged(found: Any, name: str) -> Identity:
    """What the verifier of that name has found, if it lets somebody in."""
    if not isinstance(found, Identity) or found.user is None:
        raise TypeError(f"verify() must return an Identity with a user, or None; not {found!r}")
    if found.expires_at is not None and not found.expires_at > time.time():
        raise TokenRefused("the token has expired", expired=True)
    if not getattr(found.user, "is_active", True):
        raise TokenRefused("the user is not active")
    return dataclasses.replace(found, verifier=name)


def _without(token: str, text: str) -> str:
    """``text`` without the token, and without the parts of which it is made."""
    for part in (token, *re.split(r"[.:]", token)):
        if len(part) >= _TELLING:
            text = text.replace(part, "[token]")
    return text


def install(scope: Scope, identity: Identity) -> None:
    """Put what a token says into a scope."""
    scope["token"] = identity
    scope["user"] = identity.user
    if identity.session is not None:
        scope["session"] = identity.session


def are_alike(one: Verifier, other: Verifier) -> bool:
    """Whether two verifiers are of one class and were made in the same way."""
    if one is other:
        return True
    return type(one) is type(other) and getattr(one, "__dict__", 1) == getattr(other, "__dict__", 2)


class TokenCredential:
    """Lets a client stay until its token expires; see :class:`~channels._runtime.types.Credential`.

    Args:
        identity: what the token said.
        verifiers: those that are asked about newer ones.
    """

    __slots__ = ("_identity", "_verifiers", "changed")

    def __init__(self, identity: Identity, verifiers: Iterable[Verifier]) -> None:
        self._identity = identity
        self._verifiers = verifiers
        self.changed: Any = None

    def is_of(self, verifiers: Iterable[Verifier]) -> bool:
        """Whether one of these verifiers would have accepted the token, which is not kept, too."""
        accepted = [
            it for it in self._verifiers if type(it).__qualname__ == self._identity.verifier
        ]
        own = tuple(verifiers)
        return bool(accepted) and all(any(are_alike(it, each) for each in own) for it in accepted)

    @property
    def expires_at(self) -> float | None:
        """When the token expires, in seconds since the epoch."""
        return self._identity.expires_at

    @property
    def by_session(self) -> bool:
        """Whether it stands for a Django session."""
        return self._identity.session is not None

    @property
    def token_id(self) -> str | None:
        """What the token is called where it is revoked; None if it has no name."""
        return self._identity.token_id

    def is_revoked(self) -> bool:
        """Whether the token has been revoked since, as far as that can be found out."""
        ask = self._identity.is_revoked
        return ask is not None and ask()

    async def refresh(self, scope: Scope, token: str) -> None:
        """Take a newer token.

        Raises:
            TokenRefused: it is not good, or another user's, or the older one has expired meanwhile.
            VerifierUnavailable: that cannot be found out now.
        """
        outcome = await verify(self._verifiers, token)
        del token
        if not isinstance(outcome, Identity):
            raise outcome
        if outcome.user != self._identity.user:
            raise TokenRefused("the newer token is another user's")
        left = self._identity.expires_in
        if left is not None and left <= 0:
            raise TokenRefused("the token has expired before a newer one came", expired=True)
        self._identity = outcome
        install(scope, outcome)
        if self.changed is not None:
            self.changed()
