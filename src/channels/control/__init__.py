"""Commands to all processes that serve connections, and their answers.

A process that serves connections listens, on each of its event loops, to one private channel of the
project's channel layer, which is in one group. It begins when the server starts, or with the first
connection under a server that tells nothing of its start (Daphne). What one process publishes
reaches the handlers of all of them; without a layer, those of this process.
"""

from .commands import aask, apublish, ask, publish, register
from .plane import process_name

__all__ = ["aask", "apublish", "ask", "process_name", "publish", "register"]
