"""What every layer does whose broker keeps messages that are to be sent later."""

import asyncio
import hashlib
import itertools
import logging
import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Protocol

from ..._runtime import clock, lograte, timers
from ...exceptions import (
    BrokerError,
    ChannelFull,
    InvalidScheduleError,
    ScheduleFull,
    SerializationError,
)
from ..carriers import carriers, carry, is_due, unchanged
from ..delays import When, require_period, when
from ..statistics import CAPACITY, UNDECODABLE
from .layer import BrokerLayer, Destination
from .process import process_of
from .schedule import CHANNEL, GROUP, QUEUE, Claimed, Kind, Schedule
from .scheduler import Scheduler
from .sealing import Seal
from .transport import Transport

__all__ = ["SCHEDULE_CAPACITY", "DelayedSends"]

logger = logging.getLogger("channels.layers")

#: Messages that may be scheduled in each partition.
SCHEDULE_CAPACITY = 10_000

# Seconds after a claim within which this process begins to send what it has claimed, and seconds
# that sending one message may take then. Both together are less than a claim holds.
_BEGINNING, _SENDING = 5.0, 5.0

# Periodic messages are in one partition, whatever they are for: their names are the project's, and
# may be given to another channel, or while a server is added, and must not be there twice.
_PERIODIC = 0

_HANDLE = re.compile(r"([0-9a-f]{8})\.([0-9]{1,6})\.([0-9a-f]{1,64})\Z")


class SchedulingTransport(Transport, Protocol):
    """A transport to a broker that keeps messages which are to be sent later."""

    @property
    def schedule(self) -> Schedule:
        """Where it keeps them."""


class DelayedSends(BrokerLayer):
    """A layer with a broker that sends later, and again and again.

    Its transport has a ``schedule``. The arguments are those of :class:`BrokerLayer`.
    """

    supports_delayed: ClassVar[bool] = True

    transport: SchedulingTransport

    def _begin(self) -> None:
        super()._begin()
        self._numbers = itertools.count()
        # What is scheduled may wait for longer than what is sealed may arrive.
        keys = self._seal_keys
        self._keeping = Seal(keys, self.prefix, math.inf) if keys else None
        prefix = self.prefix.encode("utf-8", "surrogatepass")
        self._mark = hashlib.blake2s(prefix, digest_size=4).hexdigest()
        self._scheduler = Scheduler(
            self._claim_due,
            self._send_claimed,
            self.transport.schedule.partitions,
            self.local.waiting_loops,
        )

    # Later; see BaseChannelLayer

    async def send_later(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to one channel after some seconds, or at a time."""
        if carriers and is_due(message):
            sending = partial(DelayedSends.send_later, self, delay=delay, at=at)
            return await carry(sending, self, "send_later", channel, message)
        self.require_valid_channel_name(channel)
        due, data = when(delay, at), self._kept("channel", channel, message)
        partition = self.transport.schedule.partition_of(channel)
        kind = QUEUE if process_of(channel) is None else CHANNEL
        return await self._off_passing_loop(self._add(partition, kind, channel, data, due))

    async def group_send_later(
        self,
        group: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to every member that ``group`` has then."""
        if carriers and is_due(message):
            sending = partial(DelayedSends.group_send_later, self, delay=delay, at=at)
            return await carry(sending, self, "group_send_later", group, message)
        self.require_valid_group_name(group)
        due, data = when(delay, at), self._kept("group", group, message)
        partition = self.transport.schedule.partition_of(group)
        return await self._off_passing_loop(self._add(partition, GROUP, group, data, due))

    async def cancel_later(self, handle: str) -> bool:
        """Cancel what was to be sent later. Whether it had not been sent."""
        mark, partition, number = _parts(handle)
        if mark != self._mark or partition >= self.transport.schedule.partitions:
            raise InvalidScheduleError(
                f"The handle {handle} is another layer's: one with another prefix, or other hosts"
            )
        return await self._off_passing_loop(self.transport.schedule.cancel(partition, number))

    async def _add(self, partition: int, kind: Kind, name: str, data: bytes, due: When) -> str:
        # In the order of the alphabet they are those of this process in the order of the calls.
        number = f"{self.client_prefix}{next(self._numbers):010x}"
        await self._schedule(partition, number, kind, name, data, due)
        return f"{self._mark}.{partition}.{number}"

    async def _schedule(
        self,
        partition: int,
        number: str,
        kind: Kind,
        name: str,
        data: bytes,
        due: When,
        period: float = 0.0,
    ) -> None:
        added = await self.transport.schedule.add(partition, number, kind, name, data, due, period)
        if not added:
            raise ScheduleFull(
                f"The message for {name} was not scheduled: as many wait to be sent later as the "
                "layer's schedule_capacity allows"
            )
        self._scheduler.expect(partition, max(due.from_now(), 0.0))

    # Again and again

    async def send_every(
        self, seconds: float, channel: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to one channel every so many seconds."""
        self.require_valid_channel_name(channel)
        data = self._kept("channel", channel, message)
        at_home = self.transport.schedule.partition_of(channel) == _PERIODIC
        kind = QUEUE if at_home and process_of(channel) is None else CHANNEL
        await self._repeat(seconds, kind, channel, data, name)

    async def group_send_every(
        self, seconds: float, group: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to every member of ``group`` every so many seconds."""
        self.require_valid_group_name(group)
        await self._repeat(seconds, GROUP, group, self._kept("group", group, message), name)

    async def _repeat(
        self, seconds: float, kind: Kind, destination: str, data: bytes, name: str
    ) -> None:
        self.require_valid_periodic_name(name)
        period = require_period(seconds)
        await self._off_passing_loop(
            self._schedule(
                _PERIODIC, _periodic_id(name), kind, destination, data, When(period), period
            )
        )

    async def cancel_every(self, name: str) -> bool:
        """End what is sent again and again under ``name``. Whether there was anything."""
        self.require_valid_periodic_name(name)
        cancelling = self.transport.schedule.cancel(_PERIODIC, _periodic_id(name))
        return await self._off_passing_loop(cancelling)

    # What is kept

    def _kept(self, to: Destination, name: str, message: dict[str, Any]) -> bytes:
        """A message as the broker keeps it: as bytes, and for its destination only."""
        data = self.serialize(message)
        if type(data) is not bytes:
            data = self._as_bytes(data)
        return data if self._keeping is None else self._keeping.close(f"later {to}", name, data)

    def _unkept(self, to: Destination, due: Claimed) -> bytes:
        """The message as it was serialized.

        Raises:
            SerializationError: it is not one, or is sealed with a key that this process has not.
        """
        if self._keeping is None:
            return due.data
        return self._keeping.open(f"later {to}", due.name, due.data)

    # Sending what is due

    async def _claim_due(self, partition: int) -> tuple[float | None, list[Claimed]]:
        """Claim what is due."""
        claim = f"{self.client_prefix}.{next(self._numbers)}"
        return await self.transport.schedule.claim(partition, claim)

    async def _send_claimed(
        self, partition: int, claimed: list[Claimed], since: float, is_ending: Callable[[], bool]
    ) -> None:
        """Send what was claimed."""
        queued = [due for due in claimed if self._is_queued_in(partition, due)]
        await asyncio.gather(*(self._append_due(partition, due) for due in queued))
        # One after another: of these, one may come twice if this process is killed meanwhile.
        for due in claimed:
            if self._is_queued_in(partition, due):
                continue
            if is_ending():
                await self.transport.schedule.settle(partition, due, sent=False, patience=math.inf)
            elif clock.now() - since <= _BEGINNING:  # or another process sends it
                await self._send_one(partition, due)

    def _is_queued_in(self, partition: int, due: Claimed) -> bool:
        """Whether a message is for a queue beside its schedule; hosts may have been added."""
        return due.kind == QUEUE and self.transport.schedule.partition_of(due.name) == partition

    async def _append_due(self, partition: int, due: Claimed) -> None:
        try:
            data = self._unkept("channel", due)
        except SerializationError as error:
            await self._put_off(partition, due, UNDECODABLE, error)
            return
        if self._seal is not None:
            data = self._seal.close("channel", due.name, data)
        capacity = self.get_capacity(due.name)
        outcome = await self.transport.schedule.append(partition, due, data, capacity, self.expiry)
        if outcome == "given up":
            self.local.drop(CAPACITY, due.name)

    async def _send_one(self, partition: int, due: Claimed) -> None:
        try:
            async with timers.timeout(_SENDING):
                await self._send_message(due)
        except ChannelFull as error:
            if process_of(due.name) is None:  # a worker's queue: it may have room soon
                await self._put_off(partition, due, CAPACITY, error)
                return
            self.local.drop(CAPACITY, due.name)
        except (BrokerError, TimeoutError) as error:
            lograte.log(
                logger, logging.WARNING, "due", "The message that is due for %s is tried again "
                "later: %s", due.name, str(error) or repr(error),
            )  # fmt: skip
            return  # when the claim ends
        except Exception as error:  # noqa: BLE001 - a key is missing, or a subclass has raised it
            await self._put_off(partition, due, UNDECODABLE, error)
            return
        await self.transport.schedule.settle(partition, due, sent=True, patience=0.0)

    async def _send_message(self, due: Claimed) -> None:
        to: Destination = "group" if due.kind == GROUP else "channel"
        data = self._unkept(to, due)
        try:
            message = self.deserialize(data)
        except SerializationError:
            raise
        except Exception as error:  # a subclass may raise what it likes
            raise SerializationError(f"Not a message of this layer: {error}") from error
        with unchanged(message):
            await (self.group_send if to == "group" else self.send)(due.name, message)

    async def _put_off(self, partition: int, due: Claimed, reason: str, error: Exception) -> None:
        """Let a process try again what could not be sent, which may be another one."""
        outcome = await self.transport.schedule.settle(
            partition, due, sent=False, patience=self.expiry
        )
        if outcome == "given up":
            logger.error("The message that was due for %s was not sent: %s", due.name, error)
            self.local.drop(reason, due.name)

    # Who sends

    async def new_channel(self, prefix: str = "specific") -> str:
        """The name of a new channel that only this process receives from."""
        name = await super().new_channel(prefix)
        self._scheduler.watch()
        return name

    async def _receive_named(self, channel: str) -> dict[str, Any]:
        self._scheduler.watch()
        return await super()._receive_named(channel)

    async def aclose(self) -> None:
        """End all that this process has in the layer; what is scheduled stays at the broker."""
        await self._scheduler.stop()
        await super().aclose()


def _parts(handle: Any) -> tuple[str, int, str]:
    """The mark of a layer, the number of a partition and the ID that make up a handle."""
    found = _HANDLE.match(handle) if isinstance(handle, str) else None
    if found is None:
        raise InvalidScheduleError(
            f"{ascii(handle)[:120]} is no handle of send_later() or group_send_later() of a layer "
            "with a broker"
        )
    return found[1], int(found[2]), found[3]


def _periodic_id(name: str) -> str:
    """The name of a periodic message in the schedule; no other message's is like it."""
    return f"every {name}"
