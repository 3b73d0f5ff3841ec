"""Limits from one place (the setting, a consumer, a middleware), and what is counted for them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .keys import Keys
from .options import Limits
from .shared import SharedStore
from .store import Store

__all__ = ["Counted", "Policy"]

#: For what limits are counted, those first that a hostile client can exhaust for nobody else.
_KINDS = ("connection", "address", "user", "consumer")


class Counted(NamedTuple):
    """One limit of a policy, and for which key a connection counts."""

    policy: "Policy"
    limit: str
    kind: str
    key: str
    allowed: Any

    def __str__(self) -> str:
        whom = f" from {self.kind} {self.key}" if self.kind in ("address", "user") else ""
        name = f"{self.limit}_per_{self.kind}"
        return f"more than {self.allowed} {self.limit}{whom} ({name} of {self.policy.name})"

    @property
    def bucket(self) -> str:
        """What its bucket, or its open connections, are stored under."""
        return f"{self.policy.name} {self.limit} {self.kind} {self.key}"


class Policy:
    """Some limits, and what was counted for them so far.

    Args:
        name: where they come from, for the log. Processes that share what they count have to agree
            on it.
        limits: the limits.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        #: What is counted in this process.
        self.store = Store()
        #: Whether a client that sends too much is read more slowly, and not closed.
        self.waits = limits.value("over_limit") == "wait"
        alias = limits.value("shared")
        #: What is counted for all processes together; None without that.
        self.shared = None if alias is None else SharedStore(alias, self.store.buckets)
        given = {option for option, value in limits.given().items() if value is not None}

        def named(*counted: str) -> list[tuple[str, str]]:
            pairs = [(limit, kind) for kind in _KINDS for limit in counted]
            return [pair for pair in pairs if "{}_per_{}".format(*pair) in given]

        self._handshakes = named("handshakes")
        self._connections = named("connections")
        self._messages = named("messages", "bytes")

    @property
    def limits_anything(self) -> bool:
        """Whether there is a limit for a guard to hold a connection to."""
        return bool(
            self._handshakes or self._connections or self._messages
            or self.limits.value("message_size") or self.limits.value("groups_per_connection")
        )  # fmt: skip

    def handshakes(self, keys: Keys) -> Iterator[Counted]:
        """What a handshake counts for."""
        return self._counted(keys, self._handshakes)

    def connections(self, keys: Keys) -> Iterator[Counted]:
        """What an open connection counts for."""
        return self._counted(keys, self._connections)

    def messages(self, keys: Keys) -> Iterator[Counted]:
        """What a message counts for."""
        return self._counted(keys, self._messages)

    def _counted(self, keys: Keys, names: Sequence[tuple[str, str]]) -> Iterator[Counted]:
        for limit, kind in names:
            key = keys.get(kind)
            if key is not None:
                allowed = getattr(self.limits, f"{limit}_per_{kind}")
                yield Counted(self, limit, kind, key, allowed)

    def without(self, limits: Limits) -> "Policy":
        """The same policy for a consumer that has ``limits`` of its own: those do not count here.

        What is counted for the rest is counted together with what is counted here.
        """
        own = limits.given()
        left = {name: value for name, value in self.limits.given().items() if name not in own}
        policy = Policy(self.name, Limits(**left))
        policy.store = self.store
        if policy.shared is not None:
            policy.shared = self.shared or policy.shared
        return policy

    def inside(self) -> "Policy":
        """What is left for the consumers inside a middleware that has admitted the connection."""
        return self.without(
            Limits(
                handshakes_per_address=None,
                handshakes_per_user=None,
                handshakes_per_consumer=None,
                connections_per_address=None,
                connections_per_user=None,
                connections_per_consumer=None,
            )
        )
