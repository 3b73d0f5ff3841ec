"""What reports may say: any JSON of a bounded size, short texts, and numbers that browsers have."""

from math import isfinite
from typing import Any

from ...generic._frames import decode_json, encode_json

__all__ = ["MAX_SIZE", "number_of", "plain", "short"]

#: Bytes of JSON that a preview, or a result, may have.
MAX_SIZE = 65_536

# Characters of a title or a text that are shown.
_LONGEST_TEXT = 1000

# Integers up to this are exact in browsers.
_LARGEST = 2**53


def plain(value: Any) -> Any:
    """A copy of a preview or a result, as JSON has it.

    Raises:
        ValueError: it is no JSON, or has more than :data:`MAX_SIZE` bytes; says which.
    """
    copy: Any
    if type(value) is str and value.isascii():
        size, copy = len(value), value
    else:
        try:
            text = encode_json(value)
            size, copy = len(text), value if value is None else decode_json(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from error
    if size > MAX_SIZE:
        raise ValueError(f"it has {size} bytes, and {MAX_SIZE} are the most")
    return copy


def short(text: object) -> str:
    """A text, shortened if it is long; also one that is translated later."""
    whole = str(text)
    if not whole.isascii():
        whole = whole.encode("utf-8", "replace").decode()  # without halves of characters
    return whole if len(whole) <= _LONGEST_TEXT else whole[: _LONGEST_TEXT - 1] + "…"


def number_of(name: str, number: float | None) -> float | None:
    """A number as messages carry it."""
    if number is None or (type(number) is int and abs(number) <= _LARGEST):
        return number
    number = float(number)  # of a Decimal, say
    if not isfinite(number):
        raise ValueError(f"{name} must be a number, not {number}")
    return number
