"""What a layer for a broker is made of; see the guide "Write your own channel layer".

:class:`BrokerLayer` is the layer: it has names, messages as bytes, encryption, capacities and
statistics. It holds a :class:`Transport`, which moves bytes and knows the broker. A broker that
pushes what is published, and keeps nothing of it, is a :class:`Broadcasting` transport, which
receives with a :class:`Listener`.
"""

from ..._runtime.per_loop import PerLoop
from .backpressure import Backpressure
from .broadcasting import (
    JOIN,
    LEAVE,
    NOTHING,
    TO_CHANNEL,
    TO_GROUP,
    Broadcasting,
    BroadcastReader,
    entry,
)
from .layer import BrokerLayer
from .link import Link
from .linked import Linked
from .listening import Listener
from .polling import Polling
from .receiver import patiently
from .reconnecting import Reconnector, backoff
from .stateless import Stateless
from .transport import UNCONFIRMED, MakeTransport, Recipient, Transport

__all__ = [
    "JOIN",
    "LEAVE",
    "NOTHING",
    "TO_CHANNEL",
    "TO_GROUP",
    "UNCONFIRMED",
    "Backpressure",
    "BroadcastReader",
    "Broadcasting",
    "BrokerLayer",
    "Link",
    "Linked",
    "Listener",
    "MakeTransport",
    "PerLoop",
    "Polling",
    "Recipient",
    "Reconnector",
    "Stateless",
    "Transport",
    "backoff",
    "entry",
    "patiently",
]
