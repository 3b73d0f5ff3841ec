"""A site that shows jobs, and programs that report them, each in processes of their own.

As a program: ``progress_site.py PORT JOB PROGRAM``.
"""

import os
import sys
import time
from pathlib import Path

import django
from django.conf import settings

BACKEND = f"{__package__ or 'tests.integration'}.progress_site.Users"


class Users:
    """All users there are, without a database."""

    def authenticate(self, request, **credentials):
        return None

    def get_user(self, user_id):
        from django.contrib.auth import get_user_model

        gone = Path(os.environ.get("GONE", "/nowhere"))
        return None if gone.exists() else get_user_model()(pk=user_id, username=f"user{user_id}")


def configure(port, secret_key):
    settings.configure(
        SECRET_KEY=secret_key,
        ALLOWED_HOSTS=["*"],
        AUTHENTICATION_BACKENDS=[BACKEND],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "channels"],
        CHANNEL_LAYERS={
            "default": {
                "BACKEND": os.environ.get("BACKEND", "channels_redis.core.RedisChannelLayer"),
                "CONFIG": {"hosts": [("127.0.0.1", int(port))]},
            }
        },
    )
    django.setup(set_prefix=False)


def make_application():
    """For an ASGI server started with ``--factory``."""
    configure(os.environ["BROKER_PORT"], os.environ["SECRET"])
    from django.urls import path

    from channels.auth import AuthMiddlewareStack
    from channels.contrib.progress import ProgressConsumer, ProgressSseConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter

    class Quick:
        look_interval = 0.2
        check_user_interval = 0.5

    class Sockets(Quick, ProgressConsumer):
        pass

    class Events(Quick, ProgressSseConsumer):
        pass

    def routes(consumer):
        application = consumer.as_asgi()
        found = [path("progress/", application), path("progress/<str:job>/", application)]
        return AuthMiddlewareStack(URLRouter(found))

    return ProtocolTypeRouter({"http": routes(Events), "websocket": routes(Sockets)})


def report(job, program):
    """Report steps until the file of the job's name is there, or for ever."""
    from channels.contrib.progress import Progress

    with Progress(job, user=1, total=1000, interval=0.02, lost_after=1.0) as progress:
        while not Path(program).exists():
            progress.advance(1, f"in {os.getpid()}")
            time.sleep(0.001)
        progress.finish({"by": os.getpid()})


if __name__ == "__main__":
    configure(sys.argv[1], "reporter")
    report(*sys.argv[2:])
