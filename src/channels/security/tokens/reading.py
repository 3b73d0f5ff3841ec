"""Takes tokens out of what a client sends, so that nothing further in can show them."""

import dataclasses
import re
from collections.abc import Collection
from urllib.parse import unquote_plus

from ..._runtime.types import Scope
from .base import MAX_LENGTH

__all__ = ["SUBPROTOCOL", "Presented", "acceptable", "take"]

#: What a page offers as a subprotocol in front of its token.
SUBPROTOCOL = "channels.bearer"

_SUBPROTOCOLS = b"sec-websocket-protocol"
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclasses.dataclass(slots=True)
class Presented:
    """What a client has presented.

    Attributes:
        scope: a copy of the connection's scope, with no token in it.
        tokens: the tokens, and whether each was in the query string.
        by_subprotocol: whether one was among the subprotocols.
    """

    scope: Scope
    tokens: list[tuple[str, bool]] = dataclasses.field(default_factory=list, repr=False)
    by_subprotocol: bool = False


def acceptable(token: str) -> bool:
    """Whether this can be a token: not too long, and printable ASCII."""
    return len(token) <= MAX_LENGTH and _PRINTABLE.fullmatch(token) is not None


def take(scope: Scope, schemes: Collection[bytes], parameter: str | None) -> Presented:
    """Take every token out of a copy of ``scope``.

    Args:
        scope: of a WebSocket or an HTTP request.
        schemes: the words, in lower case, that stand before tokens in ``Authorization``.
        parameter: the one of the query string that holds a ticket; None if none may be there.
    """
    presented = Presented(dict(scope))
    _take_header(presented, schemes)
    if scope["type"] == "websocket":
        _take_subprotocol(presented)
    if parameter is not None:
        _take_parameter(presented, parameter)
    return presented


def _take_header(presented: Presented, schemes: Collection[bytes]) -> None:
    kept = []
    for name, value in presented.scope.get("headers", ()):
        if name.lower() == b"authorization":
            scheme, _, rest = bytes(value).strip().partition(b" ")
            if scheme.lower() in schemes or not rest:  # without a scheme it may be a token
                presented.tokens.append((rest.strip().decode("latin-1"), False))
                continue
        kept.append((name, value))
    presented.scope["headers"] = kept


def _take_subprotocol(presented: Presented) -> None:
    offered = list(presented.scope.get("subprotocols") or ())
    if SUBPROTOCOL not in offered:
        return
    presented.by_subprotocol = True
    kept, rest = [], iter(offered)
    for name in rest:
        if name == SUBPROTOCOL:
            presented.tokens.append((next(rest, ""), False))
        else:
            kept.append(name)
    headers = [pair for pair in presented.scope["headers"] if pair[0].lower() != _SUBPROTOCOLS]
    if kept:
        headers.append((_SUBPROTOCOLS, ", ".join(kept).encode("latin-1", "replace")))
    presented.scope.update(subprotocols=kept, headers=headers)


def _take_parameter(presented: Presented, parameter: str) -> None:
    query: bytes = presented.scope.get("query_string") or b""
    if parameter.encode() not in query and b"%" not in query:
        return
    kept = []
    for part in query.split(b"&"):
        name, _, value = part.decode("latin-1").partition("=")
        if unquote_plus(name) == parameter:
            presented.tokens.append((unquote_plus(value), True))
        else:
            kept.append(part)
    presented.scope["query_string"] = b"&".join(kept)
