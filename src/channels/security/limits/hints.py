"""Why all clients may seem to have one address: a proxy in front that nobody has said to trust."""

from ..._runtime.types import Scope
from .address import peer_of

__all__ = ["forwarded_unbelieved"]

_HEADERS = (b"x-forwarded-for", b"forwarded")


def forwarded_unbelieved(scope: Scope) -> str:
    """What to add to the reason of a refusal, if the address seems to be that of a proxy.

    Only where the peer is a machine of the same network, so that nobody outside can cause it.
    """
    peer = peer_of(scope)
    if peer is None or isinstance(peer, str) or not peer.is_private:
        return ""
    if not any(name in _HEADERS for name, _ in scope.get("headers", ())):
        return ""
    return (
        f"; {peer} seems to be a proxy: if it is yours, add it to CHANNELS_TRUSTED_PROXIES, or all "
        "of its clients count as one"
    )
