"""A Django project as people deploy it, for tests against real servers.

``REALAPP_DIRECTORY`` names the folder that its database and its record of events are in,
``REALAPP_DRAIN`` may have the setting ``CHANNELS_DRAIN`` as JSON.
"""

import json
import os
from pathlib import Path

DIRECTORY = Path(os.environ["REALAPP_DIRECTORY"])

SECRET_KEY = "tests-only-tests-only-tests-only-tests-only-tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "tests.realapp.urls"
ASGI_APPLICATION = "tests.realapp.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DIRECTORY / "db.sqlite3"}}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
CHANNELS_DRAIN = json.loads(os.environ.get("REALAPP_DRAIN", "{}"))
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
