"""Close codes of WebSockets, and what clients do when they get one.

The browser client ``channels.js`` has the same table, so both sides agree on which clients come
back. A consumer that closes a socket chooses by that: ``self.close(CloseCode.UNAUTHORIZED)`` ends
it for good, ``self.close(CloseCode.OVERLOADED)`` lets the client come back later.
"""

from enum import IntEnum, StrEnum

__all__ = ["CloseCode", "Sequel", "sequel"]


class CloseCode(IntEnum):
    """The codes that Channels sends, and those of use to applications.

    Those below 3000 are in RFC 6455, section 7.4.1, and in the registry that it founds (IANA,
    "WebSocket Close Code Number Registry"). Applications may send 1000 and 3000 to 4999; Channels
    uses 4400 to 4499 as HTTP uses 400 to 499: what the client wants, it will not get.
    """

    #: The application has finished.
    NORMAL = 1000
    #: The server or the page goes away.
    GOING_AWAY = 1001
    #: The client has broken the WebSocket protocol.
    PROTOCOL_ERROR = 1002
    #: The consumer takes no frames of this kind: bytes where it wants text, or the reverse.
    UNSUPPORTED_DATA = 1003
    #: There was no code in the client's close.
    NO_STATUS = 1005
    #: The connection broke without a close.
    ABNORMAL = 1006
    #: A frame was not what its kind demands: no UTF-8, or no JSON for a JSON consumer.
    INVALID_PAYLOAD = 1007
    #: The client may not do what it has tried.
    POLICY_VIOLATION = 1008
    #: A frame was larger than the server takes.
    TOO_BIG = 1009
    #: The application has failed.
    INTERNAL_ERROR = 1011
    #: The process ends, and another one is there or will be.
    RESTARTING = 1012
    #: The server has too much to do, or the client has read too slowly.
    OVERLOADED = 1013
    #: The client is not signed in, or is not any more.
    UNAUTHORIZED = 4401
    #: The client is signed in, and may not do this.
    FORBIDDEN = 4403
    #: What the client wants does not exist.
    NOT_FOUND = 4404
    #: The client has been silent for too long.
    TIMEOUT = 4408
    #: What the client wants does not exist any more.
    GONE = 4410
    #: What the client has shown (a token, a ticket) has expired. With a fresh one it may come back.
    EXPIRED = 4419
    #: The client is over a limit: it sends too much, or too often.
    TOO_MANY_REQUESTS = 4429


class Sequel(StrEnum):
    """What a client does when its socket has closed."""

    #: It does not come back.
    FINAL = "final"
    #: It comes back after a delay that grows with each attempt.
    AGAIN = "again"
    #: It comes back at a random moment of some seconds, because others were told the same.
    SPREAD = "spread"
    #: What it had sent was refused. It comes back, but not if that goes on.
    REFUSED = "refused"


_SEQUELS: dict[int, Sequel] = {
    CloseCode.NORMAL: Sequel.FINAL,
    CloseCode.PROTOCOL_ERROR: Sequel.REFUSED,
    CloseCode.UNSUPPORTED_DATA: Sequel.REFUSED,
    CloseCode.INVALID_PAYLOAD: Sequel.REFUSED,
    CloseCode.POLICY_VIOLATION: Sequel.FINAL,
    CloseCode.TOO_BIG: Sequel.REFUSED,
    1010: Sequel.FINAL,  # the server lacks an extension that the client needs
    CloseCode.RESTARTING: Sequel.SPREAD,
    CloseCode.OVERLOADED: Sequel.SPREAD,
    CloseCode.EXPIRED: Sequel.AGAIN,
    CloseCode.TOO_MANY_REQUESTS: Sequel.REFUSED,
}


def sequel(code: int) -> Sequel:
    """What a client does when its socket was closed with ``code``.

    Args:
        code: what a close event tells, 1005 and 1006 among them.
    """
    known = _SEQUELS.get(code)
    if known is not None:
        return known
    return Sequel.FINAL if 4400 <= code < 4500 else Sequel.AGAIN
