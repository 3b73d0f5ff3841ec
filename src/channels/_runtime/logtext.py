"""Texts for the log: short, on one line, whatever clients and projects put into them."""

from .types import Consumer

__all__ = ["describe", "printable"]


def printable(text: object, limit: int = 200) -> str:
    """``text`` fit for one line of a log: no control characters, at most ``limit`` characters."""
    try:
        shown = str(text)[: limit + 1]  # one more, to see that there is more
    except Exception as error:  # noqa: BLE001 - of an exception that a project has made
        return f"(no text: str() raised {type(error).__name__})"
    if not shown.isprintable():
        shown = shown.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def describe(consumer: Consumer) -> str:
    """A consumer's class and the path or channel that it serves."""
    scope = consumer.scope
    place = scope.get("path") or scope.get("channel") or scope["type"]
    return f"{type(consumer).__qualname__} at {printable(place)}"
