"""Which of several servers, or of a cluster's partitions, holds a name: one function for all."""

from binascii import crc32

__all__ = ["consistent_hash"]

_RING = 0x1000


def consistent_hash(value: str | bytes, ring_size: int) -> int:
    """A number from 0 to ``ring_size - 1`` for ``value``, the same in every process.

    The lower 12 bits of the CRC-32, scaled onto the ring: what users of several Redis hosts have
    always had, so that adding a host moves only the names that must move.
    """
    if ring_size == 1:
        return 0
    data = value.encode("utf-8") if isinstance(value, str) else value
    return (crc32(data) & (_RING - 1)) * ring_size // _RING
