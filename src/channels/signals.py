"""Every event worth measuring, emitted here and nowhere else.

The framework emits; ``contrib`` and your project listen. Receivers are called where the event
happens, mostly on the event loop: keep them short, synchronous and free of database queries.
A receiver that raises is logged by Django and disturbs nobody.

=======================  ==========================================================================
Signal                   Arguments (``sender`` is the class of the consumer, router or layer)
=======================  ==========================================================================
``connection_opened``    ``consumer``, ``scope``: the first event is about to be handled
``connection_closed``    ``consumer``, ``scope``, ``code`` (int or None), ``duration`` (seconds)
``connection_refused``   ``scope``, ``reason`` (text), ``status`` (HTTP status)
``consumer_crashed``     ``consumer``, ``scope``, ``exception``
``handler_cancelled``    ``consumer``, ``scope``, ``message_type``: outlived ``disconnect_grace``
``send_dropped``         ``consumer``, ``scope``, ``message_type``: the client had gone
``client_stalled``       ``consumer``, ``scope``, ``seconds``: the client did not read for so long
``message_dropped``      ``layer``, ``channel``, ``reason`` (text), ``count`` (messages)
``server_started``       none; the server's lifespan has started
``server_draining``      ``connections`` (int), ``plan``: told to end, this process closes them
``server_stopping``      none; the server's lifespan is ending
=======================  ==========================================================================
"""

import logging
from typing import Any

from django.dispatch import Signal

__all__ = [
    "client_stalled",
    "connection_closed",
    "connection_opened",
    "connection_refused",
    "consumer_crashed",
    "emit",
    "handler_cancelled",
    "message_dropped",
    "send_dropped",
    "server_draining",
    "server_started",
    "server_stopping",
]

connection_opened = Signal()
logger = logging.getLogger("channels.signals")

connection_closed = Signal()
connection_refused = Signal()
consumer_crashed = Signal()
handler_cancelled = Signal()
send_dropped = Signal()
client_stalled = Signal()
message_dropped = Signal()
server_started = Signal()
server_draining = Signal()
server_stopping = Signal()


def emit(signal: Signal, sender: Any, **arguments: Any) -> None:
    """Call the receivers of ``signal``, if it has any; none of them can raise into the caller."""
    if signal.receivers:
        try:
            signal.send_robust(sender, **arguments)
        except Exception:
            # send_robust() logs what receivers raise, but cannot call async ones on a running loop.
            logger.exception("A signal could not be sent; its receivers must be plain functions")
