"""Telling the listeners what happens to a consumer."""

from typing import Any

from django.dispatch import Signal

from .. import signals
from .types import Consumer

__all__ = ["announce"]


def announce(signal: Signal, consumer: Consumer, **arguments: Any) -> None:
    """Send ``signal`` with the consumer, its class as the sender, and its scope."""
    signals.emit(signal, type(consumer), consumer=consumer, scope=consumer.scope, **arguments)
