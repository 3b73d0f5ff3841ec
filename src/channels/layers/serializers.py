"""Messages as bytes, for layers that send them out of the process; encrypted if keys are given."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ..exceptions import ChannelsError, SerializationError
from .messages import packed
from .values import PLAIN_JSON, TEXT, is_plain, json_values, plain

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

__all__ = [
    "BaseMessageSerializer",
    "JSONSerializer",
    "MsgPackSerializer",
    "SerializerDoesNotExist",
    "SerializersRegistry",
    "registry",
]

Key: TypeAlias = str | bytes

# Seconds by which the clocks of two machines may differ: an encrypted message is refused only
# when it is older than the layer's expiry and this.
_CLOCK_SKEW = 10

_encode_json = json.JSONEncoder(allow_nan=False).encode

# In JSON: what may be a surrogate that stands alone, or an integer of more than 64 bits.
_SUSPECT = re.compile(r"\\ud|\d{19}")


class SerializerDoesNotExist(ChannelsError, KeyError):
    """No serializer is registered for this format."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class BaseMessageSerializer:
    """Turns messages into bytes and back. Subclasses say how, in ``as_bytes`` and ``from_bytes``.

    Args:
        symmetric_encryption_keys: the first encrypts, and all decrypt, so that a new key can be
            put in front while messages under the old one are still on their way.
        random_prefix_length: bytes of noise before each message, for brokers that keep only one
            of several equal values. No more than 0 means none.
        expiry: seconds after which an encrypted message is no longer accepted, or None.
    """

    def __init__(
        self,
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        random_prefix_length: int = 0,
        expiry: float | None = None,
    ) -> None:
        self.expiry = expiry
        self.random_prefix_length = random_prefix_length
        self.crypter: MultiFernet | None = self._make_crypter(symmetric_encryption_keys)

    def _make_crypter(self, keys: "Sequence[Key] | None") -> "MultiFernet | None":
        if keys is None:
            return None
        if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
            raise ValueError("symmetric_encryption_keys must be a list of possible keys")
        if not keys:
            return None
        try:
            from cryptography.fernet import MultiFernet  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ValueError(
                "Encryption needs the package cryptography; "
                'install it with: pip install "channels[encryption]"'
            ) from error
        return MultiFernet([self.make_fernet(key) for key in keys])

    def make_fernet(self, key: Key) -> "Fernet":
        """The Fernet whose key is the SHA-256 hash of ``key``."""
        from cryptography.fernet import Fernet  # noqa: PLC0415 - an extra

        secret = key.encode("utf-8") if isinstance(key, str) else key
        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret).digest()))

    def as_bytes(self, message: dict[str, Any], *args: Any, **kwargs: Any) -> bytes:
        """Encode ``message``; any exception means that it cannot be."""
        raise NotImplementedError

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Decode a message; any exception means that it is none."""
        raise NotImplementedError

    def serialize(self, message: dict[str, Any]) -> bytes:
        """``message`` as bytes, encrypted if there are keys.

        Raises:
            SerializationError: it is not a dict, or holds what the format cannot carry.
        """
        if not isinstance(message, dict):
            raise SerializationError(
                f"A message must be a dict with a 'type', not {type(message).__name__}"
            )
        try:
            data = self.as_bytes(message)
        except (
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            raise SerializationError(
                f"The message cannot be encoded ({error}); send plain values, and the primary "
                "keys of objects instead of the objects"
            ) from error
        if self.crypter is not None:
            data = self.crypter.encrypt(data)
        if self.random_prefix_length > 0:
            data = os.urandom(self.random_prefix_length) + data
        return data

    def deserialize(self, message: bytes) -> dict[str, Any]:
        """The message in these bytes.

        Raises:
            SerializationError: there is none, it is too old, or no key decrypts it.
        """
        data = message[max(self.random_prefix_length, 0) :]
        try:
            if self.crypter is not None:
                data = self._decrypt(self.crypter, data)
            content = self.from_bytes(data)
        except SerializationError:
            raise
        except Exception as error:
            raise SerializationError(f"Not a message of this layer: {error}") from error
        if not isinstance(content, dict):
            raise SerializationError(
                f"Not a message of this layer: it holds {type(content).__name__}, not a dict"
            )
        return content

    def _decrypt(self, crypter: "MultiFernet", data: bytes) -> bytes:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - an extra

        ttl = None if self.expiry is None else int(self.expiry) + _CLOCK_SKEW
        try:
            return crypter.decrypt(data, ttl)
        except InvalidToken:
            raise SerializationError(
                "No key decrypts the message, or it is too old; all processes need the same "
                "symmetric_encryption_keys"
            ) from None


class JSONSerializer(BaseMessageSerializer):
    """JSON, with Python's own module; what JSON would not give back as it was is refused.

    A subclass that calls ``as_bytes`` with arguments of ``json.dumps``, such as an encoder for
    dates, says by that what it sends.
    """

    def as_bytes(self, message: dict[str, Any], *args: Any, **kwargs: Any) -> bytes:
        """``message`` as JSON."""
        if args or kwargs:
            return json.dumps(message, *args, **kwargs).encode("utf-8")
        if type(message) is dict and is_plain(message, PLAIN_JSON, TEXT):
            try:
                text = _encode_json(message)
            except ValueError:  # a float is not finite; it does not say which
                return _encode_json(json_values(message)).encode("ascii")
            if not _SUSPECT.search(text):
                return text.encode("ascii")
        return _encode_json(json_values(message)).encode("ascii")

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The message in this JSON."""
        content: dict[str, Any] = json.loads(message, *args, **kwargs)
        return content


class MsgPackSerializer(BaseMessageSerializer):
    """MessagePack: smaller and faster, and carries bytes."""

    _encode = staticmethod(msgspec.msgpack.Encoder().encode)
    _decode = staticmethod(msgspec.msgpack.Decoder().decode)

    def as_bytes(self, message: dict[str, Any], *args: Any, **kwargs: Any) -> bytes:
        """``message`` as MessagePack."""
        # The encoder alone would turn dates, sets and others into something else, without a word.
        data = packed(message)
        return self._encode(plain(message)) if data is None else data

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The message in this MessagePack."""
        content: dict[str, Any] = self._decode(message)
        return content


class SerializersRegistry:
    """Serializers by the name of their format, as ``serializer_format`` gives it."""

    def __init__(self) -> None:
        self._registry: dict[str, type[BaseMessageSerializer]] = {}

    def register_serializer(
        self,
        format: str,  # noqa: A002 - its well-known name
        serializer_class: type[BaseMessageSerializer],
    ) -> None:
        """Let ``format`` stand for a class with the interface of :class:`BaseMessageSerializer`."""
        if not callable(getattr(serializer_class, "serialize", None)) or not callable(
            getattr(serializer_class, "deserialize", None)
        ):
            raise TypeError(
                f"{serializer_class!r} is no serializer: it must have the methods serialize() and "
                "deserialize(), as subclasses of BaseMessageSerializer do"
            )
        self._registry[format] = serializer_class

    def get_serializer(
        self,
        format: str,  # noqa: A002 - its well-known name
        *args: Any,
        **kwargs: Any,
    ) -> BaseMessageSerializer:
        """A serializer for ``format``, made with the other arguments.

        Raises:
            SerializerDoesNotExist: no such format is registered.
        """
        try:
            serializer_class = self._registry[format]
        except KeyError:
            known = ", ".join(sorted(self._registry))
            raise SerializerDoesNotExist(
                f"No serializer is registered for {format!r}; known formats: {known}"
            ) from None
        return serializer_class(*args, **kwargs)


#: The project's serializers. Register your own here.
registry = SerializersRegistry()
registry.register_serializer("json", JSONSerializer)
registry.register_serializer("msgpack", MsgPackSerializer)
