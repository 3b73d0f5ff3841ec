import os

SECRET_KEY = "tests-only-tests-only-tests-only-tests-only-tests"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ASGI_APPLICATION = "tests.celeryapp.asgi.application"
INSTALLED_APPS = ["channels"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["CELERYAPP_DATABASE"],
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": os.environ["CELERYAPP_BACKEND"],
        # Tests send as fast as they can, and count what arrives.
        "CONFIG": {"hosts": [os.environ["CELERYAPP_LAYER"]], "capacity": 100_000},
    }
}

CELERY_BROKER_URL = os.environ["CELERYAPP_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
