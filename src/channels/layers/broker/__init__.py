"""What a layer for a broker is made of; see the guide "Write your own channel layer".

:class:`BrokerLayer` is the layer: it has names, messages as bytes, encryption, capacities and
statistics. It holds a :class:`Transport`, which moves bytes and knows the broker. A broker that
pushes what is published, and keeps nothing of it, is a :class:`Broadcasting` transport.
"""

from .backpressure import Backpressure
from .broadcasting import JOIN, LEAVE, NOTHING, TO_CHANNEL, Broadcasting, BroadcastReader
from .layer import BrokerLayer
from .receiver import patiently
from .reconnecting import Reconnector, backoff
from .transport import UNCONFIRMED, MakeTransport, Recipient, Transport

__all__ = [
    "JOIN",
    "LEAVE",
    "NOTHING",
    "TO_CHANNEL",
    "UNCONFIRMED",
    "Backpressure",
    "BroadcastReader",
    "Broadcasting",
    "BrokerLayer",
    "MakeTransport",
    "Recipient",
    "Reconnector",
    "Transport",
    "backoff",
    "patiently",
]
