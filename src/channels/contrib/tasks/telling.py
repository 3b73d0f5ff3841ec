"""Sends the signals of Django's tasks framework."""

from typing import Any

from asgiref.sync import sync_to_async
from django.dispatch import Signal

__all__ = ["atell", "tell"]

# Receivers that Django has connected itself: one for each signal, which writes to the log.
_OF_DJANGO = 1


def tell(signal: Signal, backend: Any, result: Any) -> None:
    """Send a signal from a thread; what receivers raise is logged by Django."""
    signal.send_robust(type(backend), task_result=result)


async def atell(signal: Signal, backend: Any, result: Any) -> None:
    """Send a signal from an event loop.

    Receivers of the project may use the database, so those that are plain functions are called in
    Django's thread for such code. Without any the way to that thread is spared.
    """
    if len(signal.receivers) > _OF_DJANGO:
        # Not asend_robust(), whose receivers do not see the exception that is being handled.
        await _tell_in_thread(signal, backend, result)
    else:
        tell(signal, backend, result)


_tell_in_thread = sync_to_async(tell, thread_sensitive=True)
