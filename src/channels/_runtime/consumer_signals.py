"""Sends Django signals about a consumer."""

from typing import Any

from django.dispatch import Signal

from .. import signals
from .types import Consumer

__all__ = ["send_signal"]


def send_signal(signal: Signal, consumer: Consumer, **arguments: Any) -> None:
    """Send ``signal`` from the consumer's class, with the consumer, its scope and ``arguments``."""
    signals.emit(signal, type(consumer), consumer=consumer, scope=consumer.scope, **arguments)
