"""What the layer calls things at RabbitMQ: one exchange, and queues.

All processes of a project must agree on every name here, those of the next version as well.

- The exchange is where messages to processes and to groups are published. A process binds its queue
  with a key of its own and one for each group; so a group message is published once.
- The queue of a process belongs to its connection, and ends with it.
- The queue of a named channel is durable. It ends when nobody has used it for some time.
- What has expired in named channels goes to one queue more, for processes to count it.
"""

__all__ = [
    "GAP",
    "channel_of",
    "exchange_name",
    "expired_queue",
    "group_key",
    "group_of",
    "named_queue",
    "process_key",
    "process_queue",
]

#: The type of a message that tells of a loss; its body is the reason.
GAP = "gap"

_GROUP, _PROCESS = "g.", "p."


def exchange_name(prefix: str) -> str:
    """The exchange."""
    return f"channels.{prefix}"


def process_queue(prefix: str, process: str, number: int) -> str:
    """The queue of a process, for the connection with this number."""
    return f"channels.{prefix}.process.{process}.{number}"


def named_queue(prefix: str, channel: str) -> str:
    """The queue of a named channel."""
    return f"channels.{prefix}.queue.{channel}"


def channel_of(prefix: str, queue: str) -> str:
    """The named channel with this queue."""
    return queue.removeprefix(named_queue(prefix, ""))


def expired_queue(prefix: str) -> str:
    """Where messages go that have expired in named channels."""
    return f"channels.{prefix}.expired"


def process_key(process: str) -> str:
    """The routing key of what is for a process."""
    return _PROCESS + process


def group_key(group: str) -> str:
    """The routing key of what is for a group."""
    return _GROUP + group


def group_of(key: str) -> str | None:
    """The group with this routing key; None if it is a process's or a queue's."""
    return key[len(_GROUP) :] if key.startswith(_GROUP) else None
