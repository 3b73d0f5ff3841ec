"""What all processes count together, through the broker of a channel layer.

A message does not wait for the broker each time: a process takes a tenth of a bucket at once, and
gives its clients from that. An open connection holds places in all of its limits, which the layer
counts for all processes, and gives back what belonged to a process that is gone.

While the broker cannot be reached, each process holds its clients to
the same rates by itself: a limit that is too generous for a while is better than a site that lets
nobody in because its broker is down. How often that happened is counted.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Any, NamedTuple, TypeVar

from ..._runtime import clock, lograte, timers
from ..._runtime.buckets import MOST, Buckets
from ..._runtime.layer_access import find_layer
from ..._runtime.loops import running_loop
from ...exceptions import NotSupported
from .counts import UNSHARED, counts
from .rates import Rate

__all__ = ["Places", "SharedStore"]

_T = TypeVar("_T")

logger = logging.getLogger("channels.limits")

# Seconds to wait for the broker, and then not to ask it again.
_PATIENCE = 1.0
_PAUSE = 5.0

# Seconds for an event loop that was held up to take an answer that has come meanwhile.
_LAST_LOOK = 0.05

# So often within so many seconds a client that has too many connections makes a process ask.
_ASKED = 3
_ASKED_WITHIN = 1.0

# Which part of a full bucket a process takes at once.
_PART = 10


class Places(NamedTuple):
    """What a connection holds at a layer, so that it can give it back."""

    layer: Any
    names: tuple[str, ...]
    loop: asyncio.AbstractEventLoop | None

    def give_back(self) -> None:
        """The connection has ended. Where its event loop is gone, so is what it held."""
        if running_loop() is self.loop:
            self.layer.give_places(self.names)


class SharedStore:
    """Buckets, and places of connections, by key, at the broker.

    Args:
        alias: of the channel layer.
        fallback: counts in this process while the broker cannot be reached.
    """

    def __init__(self, alias: str, fallback: Buckets) -> None:
        self.alias = alias
        self._fallback = fallback
        # Tokens that this process has taken and not used yet.
        self._taken: OrderedDict[str, float] = OrderedDict()
        self._paused_until = 0.0
        # Of keys with too many connections: since when the broker was asked, and how often.
        self._full: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def has(self, key: str, cost: float) -> bool:
        """Use tokens that were taken before; False if there are too few of them."""
        left = self._taken.get(key, 0.0) - cost
        if left < 0:
            return False
        self._taken[key] = left
        return True

    async def take(
        self, key: str, rate: Rate, cost: float = 1.0, *, exact: bool, debt: bool = False
    ) -> float:
        """Take tokens from a bucket.

        Args:
            key: of the bucket.
            rate: how fast it fills, and how much it holds.
            cost: how many tokens to take.
            exact: take no more than that, and not a supply for what comes next.
            debt: see :func:`channels._runtime.buckets.take`.

        Returns:
            0.0, or the seconds after which there will be enough.
        """
        if self.has(key, cost):
            return 0.0
        if clock.now() < self._paused_until:
            return self._fall_back(key, rate, cost, debt=debt)
        needed = cost - self._taken.get(key, 0.0)
        most = needed if exact else max(needed, rate.capacity / _PART)
        found = await self._answer(self._take_tokens(key, rate, needed, most, debt=debt))
        if found is None:
            return self._fall_back(key, rate, cost, debt=debt)
        taken, wait = found
        self._keep(key, taken - (cost if not wait else 0.0))
        return wait

    async def open(self, allowed: Mapping[str, int]) -> "tuple[str | None, Places | None]":
        """A connection begins, which this process alone would let in.

        Args:
            allowed: how many there may be in all processes, by key.

        Returns:
            The key for which there are too many, or None; and what the connection holds from now
            on, if it may begin.
        """
        layer = find_layer(self.alias)
        if not getattr(layer, "supports_processes", True):
            return None, None  # there are no others
        for key in allowed:
            if self._is_known_full(key):
                return key, None
        keys = {_name_of(key): key for key in allowed}
        holds = Places(layer, tuple(keys), running_loop())
        if clock.now() >= self._paused_until:
            most = {name: allowed[key] for name, key in keys.items()}
            answer = await self._answer(self._take_places(layer, most))
            if answer is not None:
                (full,) = answer
                if full is None:
                    return None, holds
                self._note_full(keys[full])
                return keys[full], None
        counts[UNSHARED] += 1
        if not hasattr(layer, "add_places"):
            return None, None
        layer.add_places(holds.names)
        return None, holds

    def _is_known_full(self, key: str) -> bool:
        """Whether a client tries so often that the broker is not asked again at once."""
        since, asked = self._full.get(key, (0.0, 0))
        return asked >= _ASKED and clock.now() - since < _ASKED_WITHIN

    def _note_full(self, key: str) -> None:
        now = clock.now()
        since, asked = self._full.get(key, (now, 0))
        self._full[key] = (since, asked + 1) if now - since < _ASKED_WITHIN else (now, 1)
        self._full.move_to_end(key)
        if len(self._full) > MOST:
            self._full.popitem(last=False)

    async def _answer(self, asking: Awaitable[_T]) -> _T | None:
        """What the broker has answered; or None, and then it is not asked again for a while."""
        try:
            async with timers.timeout(_PATIENCE, last_look=_LAST_LOOK):
                return await asking
        except Exception as error:  # noqa: BLE001 - of whatever a layer asks its broker by
            self._paused_until = clock.now() + _PAUSE
            lograte.log(
                logger,
                logging.WARNING,
                f"unshared {self.alias}",
                "Limits are counted in each process by itself for %g s, because the channel layer "
                "%s could not be asked: %s: %s",
                _PAUSE,
                self.alias,
                type(error).__name__,
                str(error) or f"no answer within {_PATIENCE:g} s",
            )
            return None

    @staticmethod
    async def _take_places(layer: Any, most: Mapping[str, int]) -> tuple[str | None]:
        if not hasattr(layer, "take_places"):
            raise NotSupported("the layer is missing, or counts no places")
        return (await layer.take_places(most),)

    async def _take_tokens(
        self, key: str, rate: Rate, needed: float, most: float, *, debt: bool
    ) -> tuple[float, float]:
        layer = find_layer(self.alias)
        if not hasattr(layer, "take_tokens"):
            raise NotSupported("the layer is missing, or keeps no token buckets")
        name = _name_of(key)
        least = min(needed, rate.capacity) if debt else needed
        found: tuple[float, float] = await layer.take_tokens(
            name, rate=rate.amount / rate.seconds, burst=rate.capacity, least=least, most=most
        )
        return found

    def _keep(self, key: str, more: float) -> None:
        taken = self._taken
        taken[key] = taken.get(key, 0.0) + more
        taken.move_to_end(key)
        if len(taken) > MOST:
            taken.popitem(last=False)

    def _fall_back(self, key: str, rate: Rate, cost: float, *, debt: bool) -> float:
        counts[UNSHARED] += 1
        return self._fallback.take(key, rate.interval, rate.capacity, cost, debt=debt)


def _name_of(key: str) -> str:
    """What a key is called at the broker, where nobody is to read users and addresses."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]
