"""Read by gunicorn from the folder that it is started in."""

from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):
    """uvicorn as gunicorn runs it. Options of uvicorn that gunicorn has no setting for are here."""

    CONFIG_KWARGS = {
        **UvicornWorker.CONFIG_KWARGS,
        "ws_max_size": 65536,
        "timeout_graceful_shutdown": 10,
    }


wsgi_app = "mysite.asgi:application"
worker_class = Worker
workers = 4
bind = "127.0.0.1:8001"
# Whose X-Forwarded-For and X-Forwarded-Proto are believed: nginx on the same machine.
forwarded_allow_ips = "127.0.0.1"
# Seconds from SIGTERM until workers are killed: draining, and what uvicorn needs afterwards.
graceful_timeout = 20
# Seconds without a sign of life after which a worker is killed and replaced.
timeout = 30
# A socket in the home directory, for gunicorn's command line tool, which is not used here.
control_socket_disable = True
