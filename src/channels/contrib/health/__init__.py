"""Is this process alive, and should it get traffic? Answers for load balancers and orchestrators.

As an ASGI application in front of Django, where it is mounted as ``"http"``::

    HealthApplication(get_asgi_application(), Health(databases=["default"]))

or as Django views::

    urlpatterns = [path("healthz", live), path("readyz", ready)]

and, to test a real WebSocket connection, ``path("ws/health/", WebSocketProbe())`` among the routes
of the WebSockets.
"""

from ..._runtime.reports import Report, Result
from .application import HealthApplication
from .monitor import Health, is_ready, set_ready
from .probing import CheckFailed, InvalidHealthCheck
from .websocket import WebSocketProbe

__all__ = [
    "CheckFailed",
    "Health",
    "HealthApplication",
    "InvalidHealthCheck",
    "Report",
    "Result",
    "WebSocketProbe",
    "is_ready",
    "live",
    "ready",
    "set_ready",
]

_health = Health()

#: A Django view that says whether the process is alive.
live = _health.live

#: A Django view that says whether the process is ready, all of ``CHANNEL_LAYERS`` included. For
#: databases, checks of your own and other timeouts use the views of a :class:`Health` of your own.
ready = _health.ready
