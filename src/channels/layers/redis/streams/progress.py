"""How far this process has read an inbox: to which entry, and to which number of each sender."""

import math

from ...._runtime.clock import now

__all__ = ["Progress"]

# Senders remembered for knowing a repeat: as many again, from before, are at hand. There is one for
# each event loop of each process that sends.
_SENDERS = 10_000


class Progress:
    """What the readers of one inbox know, one after the other.

    Attributes:
        last: the id of the last entry that was handed over, or with which the inbox began; None
            before it was first registered.
        emptied: when the last of those reads was begun that left nothing in the inbox, on our
            clock.
        offset: what to add to our clock to have the server's, in seconds.
        latest: the last number of each sender that has sent of late.
    """

    def __init__(self) -> None:
        self.last: str | None = None
        self.emptied = -math.inf
        self.offset = 0.0
        # The replication id of the server that held the inbox when it was last registered.
        self._server: bytes | None = None
        self.latest: dict[bytes, int] = {}
        # The same of senders that have not sent for longer.
        self._earlier: dict[bytes, int] = {}

    def set_clock(self, time: int) -> None:
        """Take note of what the server's clock says now, in milliseconds."""
        self.offset = time / 1000 - now()

    def registered(
        self, made: bool, last: str, known: bool, server: bytes, former_server: bytes, asked: float
    ) -> str | None:
        """Take note of what the script ``register`` has answered.

        Args:
            made: whether the inbox was not there.
            last: the id of its last entry.
            known: whether it holds the entry that was read last.
            server: the server's replication id, or nothing if it does not tell.
            former_server: that from before a failover.
            asked: when it was asked, on our clock.

        Returns:
            Why messages may have been lost, or None.
        """
        took_over = bool(self._server) and former_server == self._server
        self._server = server
        before = self.last
        if before is None:
            self.last, self.emptied = last, asked
            return None
        if made:
            self.last = last
            return "the inbox was gone"
        if known and not took_over:
            return None
        if _order(last) < _order(before):
            self.last = last
        return "another server took over" if took_over else "the server has an older state"

    def is_repeat(self, origin: bytes) -> bool:
        """Whether the message of an entry was read before; if not, it has been from now on.

        A server does not append a message twice, unless it has lost its memory of the first time:
        it was restarted or its replica took over, after this process had read the message and
        before the sender knew. A sender's numbers grow.

        Args:
            origin: the sender and the number, as scripts write them into entries.
        """
        sender, _, digits = origin.rpartition(b":")
        try:
            number = int(digits)
        except ValueError:
            return False
        latest = self.latest
        if number <= (latest.get(sender) or self._earlier.get(sender, 0)):
            return True
        latest[sender] = number
        if len(latest) >= _SENDERS:
            self.latest, self._earlier = {}, latest
        return False


def _order(entry_id: str) -> tuple[int, int]:
    """Entries' ids compare as pairs of numbers."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
