"""What transports share whose broker keeps neither states nor shared limits."""

from collections.abc import Mapping
from typing import NoReturn

from ...exceptions import NotSupported
from .transport import Held

__all__ = ["Stateless"]


class Stateless:
    """Refuses what the broker has not; see :class:`~channels.layers.broker.transport.Transport`.

    The layer says so, too: its ``supports_state``, ``supports_tokens`` and ``supports_places`` are
    False.
    """

    async def set_state(
        self,
        collection: str,
        field: str,
        data: bytes,
        expiry: float,
        revision: int | None,
        capacity: int,
    ) -> bool:
        """Refuse."""
        self._refuse()

    async def get_states(self, collection: str, field: str | None) -> dict[str, bytes]:
        """Refuse."""
        self._refuse()

    async def delete_state(self, collection: str, field: str) -> None:
        """Refuse."""
        self._refuse()

    async def take_tokens(
        self, key: str, rate: float, burst: float, least: float, most: float
    ) -> tuple[float, float]:
        """Refuse."""
        self._refuse()

    async def hold_places(
        self,
        holder: str,
        numbers: Mapping[str, tuple[int, int | None]],
        *,
        lease: float,
        keep: float,
        former: str | None,
    ) -> Held:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotSupported(
            f"{type(self).__name__} keeps no states (supports_state) and no shared limits "
            "(supports_tokens, supports_places); use a Redis layer under another alias for them"
        )
