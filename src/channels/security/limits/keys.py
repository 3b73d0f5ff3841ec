"""For whom a connection counts: its client's address, its user, its consumer."""

from ..._runtime.types import Scope
from .address import TrustedProxies, address_key

__all__ = ["Keys"]


class Keys:
    """For whom one connection counts. Each is found when the first limit asks for it.

    Args:
        scope: the connection's.
        proxies: those that are believed.
        consumer: the name of the consumer's class, or of what stands in its place.
    """

    __slots__ = ("_consumer", "_known", "_proxies", "_scope")

    def __init__(self, scope: Scope, proxies: TrustedProxies, consumer: str) -> None:
        self._scope = scope
        self._proxies = proxies
        self._consumer = consumer
        self._known: dict[str, str | None] = {}

    def get(self, kind: str) -> str | None:
        """The key of that kind; None where there is none, such as that of an anonymous user."""
        if kind == "connection":
            return ""
        if kind == "consumer":
            return self._consumer
        if kind not in self._known:
            self._known[kind] = self._address() if kind == "address" else self._user()
        return self._known[kind]

    def _address(self) -> str | None:
        address = self._proxies.client_of(self._scope)
        return None if address is None else address_key(address)

    def _user(self) -> str | None:
        user = self._scope.get("user")
        if user is None or not getattr(user, "is_authenticated", False):
            return None
        return str(getattr(user, "pk", user))
