"""The project that is deployed: as the guides say, everything else comes from the environment."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "tests-only-tests-only-tests-only-tests-only-tests")
DEBUG = False
ALLOWED_HOSTS = ["www.example.com", "127.0.0.1"]
# Whom a proxy says it has spoken HTTPS with.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
USE_TZ = True
ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"
INSTALLED_APPS = ["channels"]
if "DATABASE" in os.environ:
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}
    }
keys = os.environ.get("CHANNEL_KEYS")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")],
            "symmetric_encryption_keys": keys.split(",") if keys else None,
            # Tests look for every message; a busy machine may take its time.
            "capacity": 10_000,
        },
    },
}
CHANNELS_DRAIN = {"SPREAD": float(os.environ.get("DRAIN_SPREAD", "0.5"))}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"channels.draining": {"level": "INFO"}},
}
