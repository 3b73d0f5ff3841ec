"""Holds one connection to its limits: lets it in or not, and counts what its client sends."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._runtime import clock
from ..._runtime.bodies import announces_body, refuse
from ..._runtime.buckets import take
from ..._runtime.denial import deny
from ..._runtime.types import Receive, Scope, Send
from ...close_codes import CloseCode
from .counts import count
from .hints import forwarded_unbelieved
from .keys import Keys
from .policy import Counted, Policy
from .shared import Places, SharedStore

__all__ = ["Excess", "Guard"]

# Seconds after which a client may try again that has too many connections open: nobody knows.
_LATER = 10


class Excess(NamedTuple):
    """What a client has done too much of."""

    #: Which limit: ``"messages"``, and others; see :func:`.counts.count`.
    limit: str
    #: What it is counted for.
    kind: str
    #: Seconds after which the client is within its limit again.
    seconds: float
    #: Whether to wait so long, and not to close the connection.
    waits: bool
    #: For the log.
    reason: str
    #: What to close a WebSocket with, and the HTTP status that says the same.
    code: int = CloseCode.TOO_MANY_REQUESTS.value
    status: int = 429
    #: For the client.
    told: str = "Too many requests"


class Guard:
    """Holds one connection to the limits of some policies.

    Args:
        scope: the connection's.
        policies: whose limits count.
        keys: for whom the connection counts.
        consumer: for the signal; None where there is none.
    """

    __slots__ = (
        "_consumer", "_keys", "_metered", "_open", "_own", "_places", "_policies", "_position",
        "_scope", "_size",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, policies: Sequence[Policy], keys: Keys, consumer: Any = None
    ) -> None:
        self._scope = scope
        self._policies = policies
        self._keys = keys
        self._consumer = consumer
        self._open: list[Counted] = []
        # What it holds at layers, where it counts with the connections of other processes.
        self._places: list[Places] = []
        self._metered = [counted for policy in policies for counted in policy.messages(keys)]
        # When the buckets that are this connection's own will be full.
        self._own = [0.0] * len(self._metered)
        # Which of them the present message has not passed yet.
        self._position = 0
        sizes = [size for size in self._each("message_size") if size is not None]
        self._size: float = min(sizes, default=math.inf)

    def _each(self, name: str) -> list[Any]:
        return [policy.limits.value(name) for policy in self._policies]

    @property
    def meters(self) -> bool:
        """Whether it limits what a client sends."""
        return bool(self._metered) or self._size < math.inf

    @property
    def groups(self) -> int | None:
        """Groups that the connection may be in; None for any number."""
        return min((most for most in self._each("groups_per_connection") if most), default=None)

    # The beginning and the end

    async def admits(self, receive: Receive, send: Send, sender: object) -> bool:
        """Whether the connection may begin. If not, it has been refused, with 429.

        Args:
            receive: the server's.
            send: the server's.
            sender: who refuses it, for log and signal.
        """
        excess = await self._handshake()
        if excess is None:
            return True
        self.count(excess, "refused")
        scope = self._scope
        headers = [(b"retry-after", b"%d" % math.ceil(excess.seconds))]
        hint = forwarded_unbelieved(scope) if excess.kind == "address" else ""
        reason = excess.reason + hint
        if scope["type"] == "http" and announces_body(scope):
            await refuse(
                scope, receive, send, reason=reason, sender=sender, status=429, headers=headers
            )
        else:
            await deny(scope, send, status=429, reason=reason, sender=sender, headers=headers)
        return False

    async def _handshake(self) -> Excess | None:
        keys = self._keys
        for policy in self._policies:
            for counted in policy.handshakes(keys):
                wait = await _take(counted, 1.0, exact=True)
                if wait:
                    return _excess(counted, wait)
        here = [counted for policy in self._policies for counted in policy.connections(keys)]
        for counted in here:
            if counted.policy.store.count(counted.bucket) >= counted.allowed:
                return _excess(counted, _LATER)
        for counted in here:
            counted.policy.store.open(counted.bucket, self)
        self._open = here
        return await self._open_shared(here) if any(c.policy.shared for c in here) else None

    async def _open_shared(self, here: Sequence[Counted]) -> Excess | None:
        """Count the connection with those of other processes, unless there are too many."""
        layers: dict[str, tuple[SharedStore, dict[str, Counted]]] = {}
        for counted in here:
            shared = counted.policy.shared
            if shared is not None:
                layers.setdefault(shared.alias, (shared, {}))[1][counted.bucket] = counted
        excess = None
        try:
            for shared, there in layers.values():
                full, places = await shared.open({key: c.allowed for key, c in there.items()})
                if places is not None:
                    self._places.append(places)
                if full is not None:
                    excess = _excess(there[full], _LATER)
                    break
        except BaseException:
            self.release()
            raise
        if excess is not None:
            self.release()
        return excess

    def release(self) -> None:
        """The connection has ended. It may be told again."""
        for places in self._places:
            places.give_back()
        self._places = []
        for counted in self._open:
            counted.policy.store.close(counted.bucket, self)
        self._open = []

    # Messages

    async def check(self, size: int) -> Excess | None:
        """Count a message of the client.

        After a wait the same message is to be checked again: what it has passed, it has passed.

        Args:
            size: in bytes.

        Returns:
            What there is too much of, or None.
        """
        if size > self._size:
            return Excess(
                "message_size", "connection", 0.0, waits=False,
                reason=f"a message of {size} bytes, and message_size is {self._size}",
                code=CloseCode.TOO_BIG.value, status=413, told="Message too big",
            )  # fmt: skip
        metered = self._metered
        for position in range(self._position, len(metered)):
            counted = metered[position]
            waits = counted.policy.waits
            cost = float(size) if counted.limit == "bytes" else 1.0
            if counted.kind == "connection":
                rate = counted.allowed
                self._own[position], wait = take(
                    self._own[position], clock.now(), rate.interval, rate.capacity, cost, debt=waits
                )
            else:
                wait = await _take(counted, cost, exact=False, debt=waits)
            if wait:
                self._position = position
                return _excess(counted, wait)
        self._position = 0
        return None

    def count(self, excess: Excess, action: str) -> None:
        """Count, and signal, what became of an excess."""
        count(self._scope, self._consumer, excess.limit, excess.kind, action)

    def count_groups(self) -> None:
        """The connection wanted to join one group too many."""
        count(self._scope, self._consumer, "groups", "connection", "refused")


def _excess(counted: Counted, wait: float) -> Excess:
    return Excess(counted.limit, counted.kind, wait, counted.policy.waits, str(counted))


async def _take(counted: Counted, cost: float, *, exact: bool, debt: bool = False) -> float:
    """Take tokens from one bucket, here or at the broker.

    Returns:
        0.0, or the seconds after which there will be enough.
    """
    policy, rate = counted.policy, counted.allowed
    if policy.shared is None:
        bucket = counted.bucket
        return policy.store.buckets.take(bucket, rate.interval, rate.capacity, cost, debt=debt)
    return await policy.shared.take(counted.bucket, rate, cost, exact=exact, debt=debt)
