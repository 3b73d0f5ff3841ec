"""Calls, results and errors of tasks as bytes, encrypted if the channel layer's messages are.

Each of them holds its kind and the task's ID, so that whoever can write to the broker cannot put
one encrypted text in the place of another.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from channels.exceptions import SerializationError

from .exceptions import UnknownTask

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["Call", "Codec", "Errors"]

#: The path of a task, its arguments, and its keyword arguments.
Call: TypeAlias = tuple[str, list[Any], dict[str, Any]]

#: For each failed attempt the path of the exception's class, and the traceback.
Errors: TypeAlias = list[tuple[str, str]]

_CALL, _VALUE, _ERRORS, _CARRIED = "call", "value", "errors", "carried"

_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()


class Codec:
    """Encodes what stores keep.

    Args:
        crypter: encrypts; None for none.
    """

    def __init__(self, crypter: "MultiFernet | None" = None) -> None:
        self._crypter = crypter

    def encode_call(self, task_id: str, path: str, args: Any, kwargs: Any) -> bytes:
        """A call.

        Raises:
            SerializationError: an argument cannot be encoded.
        """
        return self._encode(_CALL, task_id, (path, args, kwargs), f"The arguments of {path}")

    def decode_call(self, task_id: str, data: bytes) -> Call:
        """What :meth:`encode_call` was given.

        Raises:
            UnknownTask: it cannot be decoded.
        """
        path, args, kwargs = self._decode(_CALL, task_id, data)
        return path, args, kwargs

    def encode_value(self, task_id: str, value: Any) -> bytes:
        """What a task returned.

        Raises:
            SerializationError: it cannot be encoded.
        """
        return self._encode(_VALUE, task_id, value, "The return value")

    def decode_value(self, task_id: str, data: bytes) -> Any:
        """What :meth:`encode_value` was given; raises like :meth:`decode_call`."""
        return self._decode(_VALUE, task_id, data)

    def encode_errors(self, task_id: str, errors: Errors) -> bytes:
        """What went wrong."""
        return self._encode(_ERRORS, task_id, errors, "The errors")

    def decode_errors(self, task_id: str, data: bytes) -> Errors:
        """What :meth:`encode_errors` was given; raises like :meth:`decode_call`."""
        if not data:
            return []
        return [(path, traceback) for path, traceback in self._decode(_ERRORS, task_id, data)]

    def encode_carried(self, task_id: str, text: str) -> bytes:
        """What is carried along with a call; nothing for nothing."""
        return self._encode(_CARRIED, task_id, text, "The context") if text else b""

    def decode_carried(self, task_id: str, data: bytes) -> str | None:
        """What :meth:`encode_carried` was given; None for nothing, or if it cannot be decoded."""
        if not data:
            return None
        try:
            text = self._decode(_CARRIED, task_id, data)
        except UnknownTask:  # the task runs all the same
            return None
        return text if isinstance(text, str) else None

    def _encode(self, kind: str, task_id: str, content: Any, what: str) -> bytes:
        try:
            data = _encoder.encode((kind, task_id, content))
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            # Python's own JSON takes integers of any size, and texts with half a character.
            raise SerializationError(f"{what} cannot be encoded: {error}") from error
        return data if self._crypter is None else self._crypter.encrypt(data)

    def _decode(self, kind: str, task_id: str, data: bytes) -> Any:
        try:
            plain = data if self._crypter is None else self._crypter.decrypt(data)
            found, owner, content = _decoder.decode(plain)
        except Exception as error:
            hint = "" if self._crypter is None else "; compare symmetric_encryption_keys"
            raise UnknownTask(
                f"What is stored of the task {task_id} cannot be decoded{hint}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if (found, owner) != (kind, task_id):
            raise UnknownTask(f"What is stored of the task {task_id} is another's")
        return content
