"""Encrypted messages are for one destination, and for a limited time.

Encryption alone keeps a message secret and whole, but whoever can write to the broker could send it
once more: later, or to somebody else. So what is sent also carries a seal: an HMAC-SHA-256 of the
destination, of the time and of the message, under a key that is derived from the layer's own. It is
checked where the message arrives.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence

from ..._runtime.clock import wall
from ...exceptions import SerializationError
from ..options import LONGEST
from ..serializers import Key

__all__ = ["Seal", "TooOld"]

# Seconds by which the clocks of two machines may differ, at most, or by a message's expiry if that
# is shorter.
CLOCK_SKEW = 10.0

# What is sealed begins with a mark, which no token of Fernet does, when it was sent, and until when
# it may arrive: milliseconds since the epoch. The HMAC and the message follow.
_HEAD = struct.Struct(">BQQ")
_MARK = 1
_TAG_SIZE = hashlib.sha256().digest_size
_PURPOSE = b"channels: destination and expiry of a message\0"


class TooOld(SerializationError):
    """The message arrived after its time."""


class Seal:
    """Seals what is sent, and opens what arrives.

    Args:
        keys: those of the encryption; the first one seals, and any of them opens.
        prefix: of the layer, whose messages are not for another layer.
        expiry: seconds after which what is sealed here is not accepted any more.
    """

    def __init__(self, keys: Sequence[Key], prefix: str, expiry: float) -> None:
        self._keys = [
            hashlib.sha256(_PURPOSE + (key.encode() if isinstance(key, str) else key)).digest()
            for key in keys
        ]
        self._prefix = prefix.encode("utf-8", "surrogatepass")
        self._life = max(int(min(expiry, LONGEST) * 1000), 0)

    def close(self, kind: str, name: str, data: bytes, expiry: float | None = None) -> bytes:
        """Seal a message.

        Args:
            kind: of the destination: ``"group"``, ``"channel"`` or ``"state"``.
            name: of the destination.
            data: the message.
            expiry: seconds for which it is accepted, if not the layer's.
        """
        now = int(wall() * 1000)
        life = self._life if expiry is None else int(min(expiry, LONGEST) * 1000)
        head = _HEAD.pack(_MARK, now, now + life)
        return head + self._tag(self._keys[0], head, kind, name, data) + data

    def open(self, kind: str, name: str, sealed: bytes) -> bytes:
        """The message that was sealed for this destination.

        Raises:
            TooOld: it was, but its time is over.
            SerializationError: it was not.
        """
        head, rest = sealed[: _HEAD.size], sealed[_HEAD.size :]
        if len(rest) < _TAG_SIZE or head[0] != _MARK:
            raise SerializationError(
                "The message has no seal; all processes need symmetric_encryption_keys, and the "
                "same version"
            )
        tag, data = rest[:_TAG_SIZE], rest[_TAG_SIZE:]
        for key in self._keys:
            if hmac.compare_digest(tag, self._tag(key, head, kind, name, data)):
                break
        else:
            raise SerializationError(
                f"The message was not sealed for the {kind} {name}, or with another key; all "
                "processes need the same symmetric_encryption_keys"
            )
        _, sent, end = _HEAD.unpack(head)
        skew = min(CLOCK_SKEW * 1000, end - sent)
        if wall() * 1000 > end + skew:
            raise TooOld(f"The message for the {kind} {name} arrived after its expiry")
        return data

    def _tag(self, key: bytes, head: bytes, kind: str, name: str, data: bytes) -> bytes:
        parts = (self._prefix, kind.encode(), name.encode())
        # With their lengths, so that no two destinations read the same.
        destination = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(key, head + destination + data, "sha256")
