"""Counting what a layer carries and what it loses, so that nothing vanishes in silence."""

import logging
from collections import deque
from functools import partial
from typing import Any

from .. import signals
from .._runtime import clock
from .._runtime.lograte import Pace
from .._runtime.tallies import Latency

__all__ = ["CAPACITY", "CLOSED", "EXPIRED", "LOG_INTERVAL", "UNDECODABLE", "Statistics"]

logger = logging.getLogger("channels.layers")

# Why messages are dropped.
CAPACITY = "capacity"  # the channel held as many as it may
EXPIRED = "expired"  # nobody read it in time
UNDECODABLE = "undecodable"  # what came from the broker is not a message
CLOSED = "closed"  # the consumer had gone

# Seconds between two log lines about drops for the same reason.
LOG_INTERVAL = 10.0


class Statistics:
    """What one layer object has done, in messages. A group message counts once per recipient.

    At any moment ``sent == delivered + sum(dropped.values()) + pending``, where a message that
    :meth:`~channels.layers.BaseChannelLayer.send` refused with an exception was never sent.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._pace = Pace(at_once=1, interval=LOG_INTERVAL)
        #: Drops that :meth:`report` has not reported yet.
        self.unreported: deque[tuple[str, str, int]] = deque()
        #: Addressed to a channel.
        self.sent = 0
        #: Handed to a recipient.
        self.delivered = 0
        #: Lost, by reason.
        self.dropped: dict[str, int] = {}
        #: How long the broker took for what this process has sent to a channel, and to a group;
        #: counted while :data:`.tallies.counting`.
        self.sends = Latency()
        self.group_sends = Latency()

    @property
    def pending(self) -> int:
        """Waiting to be read."""
        count: int = self._layer.count_pending()
        return count

    def __repr__(self) -> str:
        return (
            f"<Statistics sent={self.sent} delivered={self.delivered} "
            f"pending={self.pending} dropped={self.dropped}>"
        )

    def count(self, reason: str, channel: str, count: int = 1) -> None:
        """Count drops, under whatever lock guards the layer; :meth:`report` must follow it."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        self.unreported.append((reason, channel, count))

    def has_sent(
        self,
        began: float,
        message: dict[str, Any],
        *,
        channel: str | None = None,
        group: str | None = None,
    ) -> None:
        """The broker has got ``message``, which was to be sent since ``began``."""
        seconds = clock.now() - began
        (self.sends if group is None else self.group_sends).observe(seconds)
        signals.emit(
            signals.layer_message_sent,
            type(self._layer),
            layer=self._layer,
            channel=channel,
            group=group,
            message=message,
            seconds=seconds,
        )

    def has_received(
        self, count: int, *, channel: str | None = None, group: str | None = None
    ) -> None:
        """A message for so many recipients has come to this process."""
        signals.emit(
            signals.layer_message_received,
            type(self._layer),
            layer=self._layer,
            channel=channel,
            group=group,
            count=count,
        )

    def tell_gap(self, reason: str, count: int) -> None:
        """So many consumers are told that messages may have been lost."""
        if count:
            signals.emit(
                signals.layer_gap,
                type(self._layer),
                layer=self._layer,
                reason=reason,
                channels=count,
            )

    def report(self) -> None:
        """Send signals and log lines about the drops counted so far. Call it without the lock."""
        unreported = self.unreported
        while unreported:
            try:
                drop = unreported.popleft()
            except IndexError:  # another thread tells of the last one
                return
            self._tell(*drop)

    def _tell(self, reason: str, channel: str, count: int) -> None:
        """Tell about drops for one reason on one channel.

        The log gets a line at once, and then one for all that follow within an interval. That a
        consumer's last messages are dropped when it disconnects is to be expected, so those are
        logged at DEBUG only.
        """
        layer = self._layer
        signals.emit(
            signals.message_dropped,
            type(layer),
            layer=layer,
            channel=channel,
            reason=reason,
            count=count,
        )
        if reason == CLOSED:
            logger.debug("Dropped %d messages to %s: %s", count, channel, reason)
            return
        log = partial(self._log, reason, channel)
        due = self._pace.admit(reason, log, count)
        if due:
            log(due)

    def _log(self, reason: str, channel: str, count: int) -> None:
        logger.warning(
            "%s dropped %d messages (%s), the last one to %s; %d so far",
            type(self._layer).__name__,
            count,
            reason,
            channel,
            self.dropped.get(reason, 0),
        )
