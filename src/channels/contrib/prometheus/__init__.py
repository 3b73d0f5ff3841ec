"""What this process does, as metrics for Prometheus.

Add ``"channels.contrib.prometheus"`` to ``INSTALLED_APPS``, and let Prometheus read them::

    application = ProtocolTypeRouter({
        "http": MetricsApplication(get_asgi_application(), token=os.environ["METRICS_TOKEN"]),
        "websocket": ...,
    })

Dashboard and alert rules are files beside this one: ``grafana.json`` and ``alerts.yml``.
"""

from .application import MetricsApplication
from .client import InvalidMetrics

__all__ = ["InvalidMetrics", "MetricsApplication"]
