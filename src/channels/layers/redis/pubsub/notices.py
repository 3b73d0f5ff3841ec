"""Notices that a message may have been lost, for the processes that listen to its topic.

A sender whose connection breaks before the server has answered cannot know whether its message was
published. It does not send it again, which might deliver it twice. It publishes a notice instead,
as soon as it is connected again, and each process that hears it tells the consumers concerned.
"""

import asyncio
import math
from typing import Any

from ...._runtime.backstage import ignore_failure
from ...._runtime.clock import now
from ....exceptions import SerializationError
from ..keys import UNSURE
from ..partitions import Partitions

__all__ = ["LossNotices"]

# Seconds that a sender may notice a fault before those who receive do.
_SAME_FAULT = 1.0


class LossNotices:
    """What a process sends and hears of messages that may have been lost.

    Args:
        partitions: the servers.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._senders = partitions.senders
        # When the connection to each server that receives was last repaired, by our clock.
        self._repaired = [-math.inf] * len(partitions.servers)
        # What is about to be published where.
        self._pending: set[tuple[str, bytes]] = set()

    def publish(self, partition: int, command: str, topic: str, head: bytes = b"") -> None:
        """Let the processes that listen to a topic know, once the server answers again.

        Args:
            partition: the number of the server.
            command: ``PUBLISH`` or ``SPUBLISH``.
            topic: of the group, or of the process, that the message was for.
            head: what a message to a process begins with.
        """
        about = (topic, head)
        if about in self._pending:
            return
        connection, since = self._senders.get().connections[partition], now()

        def publish(connected: "asyncio.Future[Any]") -> None:
            self._pending.discard(about)
            if not (connected.cancelled() or connected.exception()):
                content = b"%b%b%.1f" % (head, UNSURE, now() - since)
                connection.call(command, topic, content).add_done_callback(ignore_failure)

        self._pending.add(about)
        connection.call("PING").add_done_callback(publish)

    def repaired(self, partition: int) -> None:
        """The connection that receives from a server has been repaired; consumers were told."""
        self._repaired[partition] = now()

    def read(self, partition: int, notice: bytes) -> str | None:
        """What to tell the consumers concerned, after a notice has come.

        Returns:
            None if the same fault concerned this process, which has told all its consumers then.

        Raises:
            SerializationError: it is no notice.
        """
        try:
            broke = now() - float(notice.removeprefix(UNSURE))
        except ValueError as error:
            raise SerializationError("Not a notice of this layer") from error
        if self._repaired[partition] >= broke - _SAME_FAULT:
            return None
        return "the connection of a sender broke before the broker answered"
