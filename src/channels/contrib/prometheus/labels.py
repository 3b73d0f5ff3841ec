"""Values of labels. Each new one is a series that Prometheus keeps, so there is a bound to them."""

from ..._runtime.logtext import printable
from ..._runtime.tallies import OTHER

__all__ = ["MOST", "OTHER", "Bounded", "consumer_name"]

#: Different values of one label that are told apart. All others count as :data:`OTHER`.
MOST = 100

_LONGEST = 100  # characters


class Bounded:
    """The values of one label.

    Args:
        most: how many are told apart: the first that come.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: object) -> str:
        """What to write for ``value``, whatever it is."""
        text = printable(value, _LONGEST)
        if text in self._known:
            return text
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(text)
        return text


def consumer_name(cls: type) -> str:
    """How a class of consumers is named."""
    return f"{cls.__module__}.{cls.__qualname__}"
