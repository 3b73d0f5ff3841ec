import os

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.celeryapp.settings")

app = Celery("celeryapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tests.celeryapp"])


@worker_init.connect
def the_parent_uses_the_layer(**kwargs):
    """What the processes of the pool inherit when they are forked: a connection, and a thread."""
    from channels.layers import get_sync_channel_layer

    if "CELERYAPP_PATIENCE" in os.environ:
        from channels.layers.redis.connection.commands import CommandConnection

        CommandConnection.__init__.__kwdefaults__["patience"] = float(
            os.environ["CELERYAPP_PATIENCE"]
        )
    get_sync_channel_layer().group_send("nobody", {"type": "report"})
