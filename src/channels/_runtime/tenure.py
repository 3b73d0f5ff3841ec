"""How long a client that came with a token may stay: until that expires, or a newer one does."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..close_codes import CloseCode
from ..exceptions import TokenRefused, VerifierUnavailable
from . import timers
from .backstage import untold
from .faults import log_about
from .logtext import describe
from .outlet import Outlet
from .types import Consumer, Credential, Receive

__all__ = ["REFRESH", "Tenure"]

logger = logging.getLogger("channels.consumer")

#: The type of the text frame in which a client sends a newer token. It never reaches a consumer.
REFRESH = "channels.token"

# Characters at both ends of a frame among which its type is looked for: it stands before the token
# or behind it, as the client's language orders the keys of objects.
_END = 64

# Seconds after which a timer looks again at the clock of the day, which may be set meanwhile.
_LONGEST = 3600.0


class _Frame(msgspec.Struct, tag=REFRESH, tag_field="type"):
    token: Any = None


class Tenure:
    """Ends one connection when its credential expires, and takes newer tokens of its client.

    Args:
        credential: what has let the client in.
        consumer: the consumer.
        receive: the server's.
        outlet: what answers the client.
        disconnect: ends the connection, with a code and a reason.
    """

    __slots__ = (
        "_consumer",
        "_credential",
        "_disconnect",
        "_ending",
        "_newest",
        "_outlet",
        "_receive",
        "_refreshing",
        "_timer",
    )

    def __init__(
        self,
        credential: Credential,
        consumer: Consumer,
        receive: Receive,
        outlet: Outlet,
        disconnect: Callable[[int, str], "asyncio.Task[Any] | None"],
    ) -> None:
        self._credential = credential
        self._consumer = consumer
        self._receive = receive
        self._outlet = outlet
        self._disconnect = disconnect
        self._ending: asyncio.Task[Any] | None = None
        # What is to be looked at. Not more than one: a client may send without end.
        self._newest: str | None = None
        self._refreshing: asyncio.Task[Any] | None = None
        self._timer: timers.Timer | None = None
        credential.changed = self._wind_up
        self._wind_up()

    async def receive(self) -> Any:
        """The next event of the client that carries no token for this."""
        while True:
            event = await self._receive()
            text = event.get("text")
            if text is None or not (REFRESH in text[:_END] or REFRESH in text[-_END:]):
                return event
            try:
                token = msgspec.json.decode(text, type=_Frame).token
            except (msgspec.DecodeError, RecursionError):  # a message like others
                return event
            self._take(token)
            del event, text, token

    def finish(self) -> None:
        """The connection ends."""
        self._credential.changed = None
        if self._timer is not None:
            self._timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()

    # Expiry

    def _left(self) -> float | None:
        expires_at = self._credential.expires_at
        return None if expires_at is None else expires_at - time.time()

    def _wind_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = self._left()
        if left is None:
            self._timer = None
        else:
            self._timer = timers.Timer(min(max(left, 0.0), _LONGEST), self._look)

    def _look(self) -> None:
        left = self._left()
        if left is not None and left > 0:
            self._wind_up()
        else:
            self._end(CloseCode.EXPIRED, "the token has expired", logging.INFO)

    def _end(self, code: CloseCode, reason: str, level: int = logging.WARNING) -> None:
        if self._ending is None:
            log_about(self._consumer, level, f"token {code}", "%s closed with %d: %s", code, reason)
            told = "token expired" if code == CloseCode.EXPIRED else "token refused"
            self._ending = self._disconnect(code.value, told)

    # Newer tokens

    def _take(self, token: Any) -> None:
        """Look at a newer token, beside what is read meanwhile: the client may leave."""
        self._newest = token if isinstance(token, str) else ""
        if self._refreshing is None and self._ending is None:
            self._refreshing = untold(asyncio.get_running_loop().create_task(self._refresh()))

    async def _refresh(self) -> None:
        """Look at the newest token, and at that which has come meanwhile."""
        try:
            while self._newest is not None and self._ending is None:
                token, self._newest = self._newest, None
                try:
                    await self._credential.refresh(self._consumer.scope, token)
                except TokenRefused as error:
                    code = CloseCode.EXPIRED if error.expired else CloseCode.UNAUTHORIZED
                    self._end(code, str(error))
                except VerifierUnavailable as error:
                    text = "%s could not refresh its token: %s"
                    log_about(self._consumer, logging.WARNING, "refresh", text, str(error))
                    await self._answer({"error": "unavailable"})
                else:
                    left = self._left()
                    await self._answer({"expires_in": None if left is None else round(left, 1)})
        finally:
            self._refreshing = None

    async def _answer(self, content: dict[str, Any]) -> None:
        text = msgspec.json.encode({"type": REFRESH, **content}).decode()
        try:
            await self._outlet.send({"type": "websocket.send", "text": text})
        except Exception:
            logger.debug("%s: answering failed", describe(self._consumer), exc_info=True)
