"""How all processes of a project are, and which connections they have.

``figures`` is what one process says of itself, ``rates`` what all are together. ``looking`` looks
at this process, with the help of ``counting`` (while somebody looks) and ``crashes`` (always), and
``asking`` asks the others over :mod:`channels.control`. The command ``channels_top``
shows it, as ``text`` writes it.
"""

from .asking import FARTHEST, Look, aask_connections, ask_connections, reaches_others
from .figures import Connection, Crash, Group, Layer, Process
from .looking import Query
from .rates import Overview

__all__ = [
    "FARTHEST",
    "Connection",
    "Crash",
    "Group",
    "Layer",
    "Look",
    "Overview",
    "Process",
    "Query",
    "aask_connections",
    "ask_connections",
    "reaches_others",
]
