"""Settings for the backends of Django's tasks."""

import os

SECRET_KEY = "benchmark"
USE_TZ = True
LOGGING = {"version": 1, "disable_existing_loggers": True}

if "BENCHMARK_DATABASE" in os.environ:
    INSTALLED_APPS = ["django_tasks", "django_tasks_db"]
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["BENCHMARK_DATABASE"],
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                "timeout": 60,
            },
        }
    }
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
else:
    INSTALLED_APPS = ["channels", "channels.contrib.tasks"]
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["BENCHMARK_REDIS"]]},
        }
    }
    TASKS = {"default": {"BACKEND": "channels.contrib.tasks.ChannelsBackend"}}
