"""States at Redis servers: a hash for each collection, and beside it when its fields expire."""

from typing import Any

from .keys import state_expiry_key, state_key
from .partitions import Partitions, milliseconds

__all__ = ["States"]


class States:
    """Keeps states; see :class:`~channels.layers.broker.transport.Transport`.

    Args:
        partitions: where they are.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions

    async def set(
        self,
        collection: str,
        field: str,
        data: bytes,
        expiry: float,
        revision: int | None,
        capacity: int,
    ) -> bool:
        """Keep a state, unless a newer one is there."""
        given = "" if revision is None else revision
        arguments = [field, data, milliseconds(expiry), given, capacity]
        return bool(await self._run("set_state", collection, arguments))

    async def get(self, collection: str, field: str | None) -> dict[str, bytes]:
        """The states of a collection, or the one of ``field``, by field."""
        arguments = [] if field is None else [field]
        found = iter(await self._run("get_states", collection, arguments))
        return {
            name.decode("ascii", "replace"): value.partition(b" ")[2]
            for name, value in zip(found, found, strict=True)
        }

    async def delete(self, collection: str, field: str) -> None:
        """Forget a state, if there is one."""
        await self._run("set_state", collection, [field, b"", 0, "", 0])

    async def _run(self, script: str, collection: str, arguments: list[Any]) -> Any:
        partition = self._partitions.number_of(collection)
        key = state_key(self._partitions.bases[partition], collection)
        connection = self._partitions.senders.get().connections[partition]
        return await connection.run(script, [key, state_expiry_key(key)], arguments)
