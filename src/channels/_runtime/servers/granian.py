"""Granian.

- Its ``send`` of a close waits until no task receives from the socket. So reading stops before.
- It is written in Rust: its objects lead to no transport. A client that does not read is sent
  nothing more, but stays connected; whether it reads is asked of the kernel, by its addresses.
- The tasks that it runs applications in are no tasks of asyncio's: ``asyncio.current_task()``
  returns None there, and ``asyncio.timeout()`` and others fail.
- It writes ports in the scope as texts.
- It runs its event loop once for the lifespan and once for the connections. uvloop replaces the
  file descriptor for signals each time.
- SIGTERM begins its shutdown, in each worker.

Nothing of its objects is used. Checked with Granian 2.5 to 2.8.
"""

from typing import Any, Self

from ..types import Receive, Scope, Send
from .base import Server

__all__ = ["Granian"]


class Granian(Server):
    """A connection of Granian."""

    package = "granian"
    modules = ("granian.",)
    close_waits_for_receive = True

    __slots__ = ()

    @classmethod
    def of(cls, here: Any, scope: Scope, send: Send, receive: Receive | None) -> Self | None:
        """The adapter, whichever connection the object serves: nothing is done to it."""
        return cls(scope, send)
