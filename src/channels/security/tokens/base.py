"""What a token says, and what finds that out."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Protocol

from ..._runtime.arguments import as_moment, as_text, shown
from ...exceptions import InvalidArgument

__all__ = ["MAX_LENGTH", "Identity", "Verifier"]

#: Bytes of the longest token that is looked at.
MAX_LENGTH = 8192


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What a token says. The token itself is no part of it, and its ``repr`` shows no claims.

    Attributes:
        user: whose token it is.
        expires_at: when it expires, in seconds since the epoch; None if it does not.
        claims: what else it says.
        session: the Django session that it stands for, if it does: what ends the session ends the
            connection too.
        token_id: its name for :func:`~channels.revocation.disconnect_token`, such as the ``jti`` of
            a JSON Web Token; None if it has none. Never the token itself.
        is_revoked: finds out whether it has been revoked since; None if nothing can tell. It is
            called now and then while the connection lasts, in a thread, and may ask the database.
        verifier: the name of the verifier's class. The middleware puts it there.

    Raises:
        InvalidArgument: at construction, if one of them is not what it should be.
    """

    user: Any
    expires_at: float | None = None
    claims: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    session: Any = None
    token_id: str | None = None
    is_revoked: Callable[[], bool] | None = dataclasses.field(default=None, compare=False)
    verifier: str = ""

    def __post_init__(self) -> None:
        if self.expires_at is not None:
            as_moment("expires_at", self.expires_at)
        if self.token_id is not None:
            as_text("token_id", self.token_id, "the jti of a JSON Web Token")
        ask: Any = self.is_revoked
        if ask is not None and (not callable(ask) or iscoroutinefunction(ask)):
            raise InvalidArgument(
                f"is_revoked must be a plain function, which is called in a thread, not "
                f"{shown(ask)}"
            )

    @property
    def expires_in(self) -> float | None:
        """Seconds until it expires; None if it does not."""
        return None if self.expires_at is None else self.expires_at - time.time()

    def __repr__(self) -> str:
        pk, left = getattr(self.user, "pk", None), self.expires_in
        expiry = "" if left is None else f", expires in {left:.0f} s"
        return f"<Identity: user {pk} by {self.verifier or 'a verifier'}{expiry}>"


class Verifier(Protocol):
    """Finds out whose token it is. Any object with this method is one.

    Two attributes are read if it has them: ``schemes``, the words before the token in the header
    ``Authorization`` (``("Bearer",)`` by default), and ``one_time``, whether its tokens may travel
    in the query string, because they are good only once.
    """

    async def verify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is not of this verifier's kind, so that others are asked.

        It is called on the event loop: ask the database with ``database_sync_to_async``. What it
        raises beyond these two is logged, and the client refused with 503.

        Args:
            token: printable ASCII, at most :data:`MAX_LENGTH` characters. Put it into no message.

        Raises:
            TokenRefused: it lets nobody in; says why, for the log.
            VerifierUnavailable: that cannot be found out now.
        """
