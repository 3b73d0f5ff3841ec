"""Settings of a demo that runs on one machine. See the notes where production differs."""

import os
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent

# In production: a secret of your own, no debugging, and the hosts that you serve.
SECRET_KEY = "insecure-and-public-key-of-the-showcase"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "channels",  # Before staticfiles, so that its runserver, which speaks WebSocket, is the one.
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "channels.contrib.admin",
    "showcase",
    "chat",
    "notifications",
    "orders",
    "editor",
    "game",
    "feed",
    "images",
    "devices",
    "dashboard",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"

# One process needs no broker, and runs the workers itself. Several processes share a Redis.
REDIS = os.environ.get("SHOWCASE_REDIS")
WORKERS_INSIDE = not REDIS
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {}},
    # For the feed: who is slow gets the newest of what there is, and at most these.
    "feed": {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": 20, "overflow": "drop_oldest"},
    },
    # For the game: of its twenty states in a second only the latest matter.
    "game": {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": 5, "overflow": "drop_oldest"},
    },
}
if REDIS:
    for alias, layer in CHANNEL_LAYERS.items():
        layer["BACKEND"] = "channels_redis.core.RedisChannelLayer"
        layer["CONFIG"] |= {"hosts": [REDIS], "prefix": f"showcase-{alias}"}

# The broker of the devices, as HOST:PORT. Without one, the worker brings one along.
MQTT = os.environ.get("SHOWCASE_MQTT")

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOWCASE_DATABASE", BASE_DIR / "db.sqlite3"),
        # Writers wait for each other instead of failing with "database is locked".
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
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
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "index"
LOGOUT_REDIRECT_URL = "sign-in"

# Accounts that `manage.py create_demo` makes and the sign-in page offers.
DEMO_ACCOUNTS = {"alice": "wonderland", "bob": "builder-bob"} if DEBUG else {}

STATIC_URL = "static/"
# Where `collectstatic` puts the files that nginx serves.
STATIC_ROOT = os.environ.get("SHOWCASE_STATIC")
USE_TZ = True
TIME_ZONE = "UTC"
