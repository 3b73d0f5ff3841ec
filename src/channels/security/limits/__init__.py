"""How much clients may do: rates, sizes and numbers, for each connection, user and address.

``docs/howto/limits.md`` shows how to use it. A client that is over a limit costs little: it is
refused before anything looks at its session, its user or the channel layer.

==================  ==============================================================================
``rates``           the token bucket: arithmetic, and nothing else
``options``         what may be limited, and what is wrong with what a project wrote
``address, keys``   for whom a connection counts
``store, shared``   what was counted: in this process, or through a broker
``policy, guard``   limits from one place; one connection held to them
``project``         the setting, and consumers
``middleware``      around any application
``counts, hints``   what is told of it
==================  ==============================================================================
"""

from .counts import statistics
from .middleware import LimitMiddleware
from .options import Limits
from .project import client_address
from .rates import Rate

__all__ = ["LimitMiddleware", "Limits", "Rate", "client_address", "statistics"]
