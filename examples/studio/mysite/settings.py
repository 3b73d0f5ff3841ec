"""Settings of a demo that runs on one machine. See the notes where production differs."""

import os
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent

# In production: a secret of your own, no debugging, and the hosts that you serve.
SECRET_KEY = "insecure-and-public-key-of-the-studio"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "channels",  # Before staticfiles, so that its runserver, which speaks WebSocket, is the one.
    "channels.contrib.tasks",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "studio",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"

# One process needs no broker: tasks wait in its memory, and a worker runs inside it. Several
# processes share a Redis, and `manage.py runtasks` is the worker.
REDIS = os.environ.get("STUDIO_REDIS")
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {}}
}
if REDIS:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS], "prefix": "studio"},
    }

TASKS = {
    "default": {
        "BACKEND": "channels.contrib.tasks.ChannelsBackend",
        "OPTIONS": {
            # Pictures that one worker paints at a time. The others wait.
            "concurrency": 2,
            # Seconds after which another worker takes over what a dead one has left.
            "lease": float(os.environ.get("STUDIO_LEASE", "5")),
        },
    }
}

# Seconds that a painter rests between two passes, so that other work gets the processor.
STUDIO_PAUSE = float(os.environ.get("STUDIO_PAUSE", "0.06"))

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("STUDIO_DATABASE", BASE_DIR / "db.sqlite3"),
        # Writers wait for each other instead of failing with "database is locked".
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ],
        },
    }
]

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "studio"
LOGOUT_REDIRECT_URL = "sign-in"

# Customers that `manage.py create_demo` makes and the sign-in page offers.
DEMO_ACCOUNTS = {"ada": "analytical-engine", "grace": "flow-matic"} if DEBUG else {}

STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
