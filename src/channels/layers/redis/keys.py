"""What the layers call things at a server: keys, topics, members of groups, kinds of entries.

All processes of a project must agree on every name here, those of the next version as well: during
a deploy both run. ``docs/internals/redis-keys.md`` tells what each key holds and how long it lives.

Scripts get keys as arguments. Ten spell names of their own: ``enqueue``, ``give_back``,
``group_send``, ``hold_places``, ``register``, ``schedule``, ``send``, ``settle``, ``take`` and
``unschedule``; the header of each says which.
"""

from binascii import crc32
from functools import lru_cache

from ..broker.broadcasting import JOIN, LEAVE, NOTHING, TO_CHANNEL

__all__ = [
    "FIELD_MESSAGE",
    "FIELD_ORIGIN",
    "FIELD_SENT",
    "JOIN",
    "LEAVE",
    "NOTHING",
    "READERS",
    "TO_CHANNEL",
    "TO_GROUP",
    "UNSURE",
    "base_of",
    "consistent_hash",
    "group_key",
    "group_topic",
    "holder_key",
    "inbox_key",
    "lost_key",
    "named_key",
    "pattern_of_all",
    "place_key",
    "process_member",
    "process_topic",
    "queue_expiry_key",
    "queue_key",
    "queue_member",
    "refusals_key",
    "schedule_key",
    "scheduled_key",
    "sender_key",
    "state_expiry_key",
    "state_key",
    "tokens_key",
]

# Names for which keys that are needed with each message are remembered. A name costs 200 bytes.
_REMEMBERED = 4096

# Where a name is

_RING = 0x1000


def consistent_hash(value: str | bytes, ring_size: int) -> int:
    """The number of the partition in which a name is, the same in every process.

    The lower 12 bits of the CRC-32, scaled onto the ring: what users of several Redis hosts have
    always had, so that adding a host moves only the names that must move.

    Args:
        value: the name of a group or of a channel.
        ring_size: the number of partitions: of servers, or of parts of a cluster.

    Returns:
        A number from 0 to ``ring_size - 1``.
    """
    if ring_size == 1:
        return 0
    data = value.encode("utf-8") if isinstance(value, str) else value
    return (crc32(data) & (_RING - 1)) * ring_size // _RING


def base_of(prefix: str, partition: int) -> str:
    """What all keys and topics of a partition begin with.

    It is a hash tag, so that a cluster keeps the keys of one partition together.
    """
    return f"{{{prefix}:{partition}}}"


def pattern_of_all(base: str) -> str:
    """The pattern, as ``SCAN`` takes it, of all keys of a partition."""
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in base) + ":*"


# Keys. "base" is that of the partition which the name is in.


def inbox_key(base: str, process: str) -> str:
    """The stream that a process reads."""
    return f"{base}:inbox:{process}"


def lost_key(base: str, process: str) -> str:
    """How many messages to groups a full inbox has had no room for."""
    return f"{base}:lost:{process}"


@lru_cache(_REMEMBERED)
def group_key(base: str, group: str) -> str:
    """The sorted set of a group's members, on a layer with inboxes."""
    return f"{base}:group:{group}"


@lru_cache(_REMEMBERED)
def named_key(base: str, group: str) -> str:
    """The sorted set of the named channels in a group, on a layer with pub/sub."""
    return f"{base}:named:{group}"


def queue_key(base: str, channel: str) -> str:
    """The stream of a named channel."""
    return f"{base}:queue:{channel}"


def queue_expiry_key(queue: str) -> str:
    """What says how long the messages of the queue with the key ``queue`` live."""
    return f"{queue}:expiry"


def sender_key(base: str, sender: str) -> str:
    """The number of a sender's last script."""
    return f"{base}:sender:{sender}"


def refusals_key(sender: str) -> str:
    """What the calls of the sender with the key ``sender`` came to. Scripts build it."""
    return f"{sender}:refusals"


def state_key(base: str, collection: str) -> str:
    """The hash of a collection of states: of each, its revision, a space, and its value."""
    return f"{base}:state:{collection}"


def state_expiry_key(states: str) -> str:
    """When each state of the collection with the key ``states`` expires."""
    return f"{states}:expiry"


def tokens_key(base: str, bucket: str) -> str:
    """When a token bucket will be full, in microseconds."""
    return f"{base}:tokens:{bucket}"


def place_key(base: str, name: str) -> str:
    """The hash of how many of a place each holder has."""
    return f"{base}:place:{name}"


def holder_key(base: str, holder: str) -> str:
    """The lease of whatever holds places, with the number of its last call. Scripts build it."""
    return f"{base}:holder:{holder}"


def schedule_key(base: str) -> str:
    """The sorted set of what is to be sent later: when to look at it (ms), by ID."""
    return f"{base}:later"


def scheduled_key(base: str) -> str:
    """What is to be sent later: messages by ID, and who is about to send one by ``@ID``."""
    return f"{base}:later:messages"


#: The consumer group of a queue.
READERS = "readers"

# Members of a group, on a layer with inboxes. On one with pub/sub they are names of channels.


def process_member(process: str) -> str:
    """A process with channels in the group."""
    return f"p:{process}"


def queue_member(channel: str, *, same_partition: bool) -> str:
    """A named channel, whose queue is in the group's partition or in another one."""
    return f"{'q' if same_partition else 'r'}:{channel}"


# Topics of pub/sub


def process_topic(base: str, process: str) -> str:
    """Where a process gets what is for one of its channels."""
    return f"{base}:process:{process}"


@lru_cache(_REMEMBERED)
def group_topic(base: str, group: str) -> str:
    """Where all processes with members in a group get its messages."""
    return f"{base}:group:{group}"


# What an entry of an inbox is, by the first byte of its field's name, and what is published to a
# process, by its first byte. The name of a group or of a channel follows.

#: A message to a group; in inboxes only, since a group has a topic of its own.
TO_GROUP = b"g"
# The others are as they are with every broker: TO_CHANNEL, JOIN and LEAVE, and NOTHING, with which
# an inbox is made, and with which a process probes its own topic.

#: What is published to a group, or to a process about one of its channels, in place of a message
#: that may have been lost. The seconds since then follow.
UNSURE = b"\x00unsure "

# The other fields of entries, as scripts write them.

#: In an inbox: the sender of a message and its number, as ``sender:number``.
FIELD_ORIGIN = b"s"
#: In a queue: a message, and when it was sent, in milliseconds, if it was in the queue before.
FIELD_MESSAGE, FIELD_SENT = b"m", b"t"
