"""Settings of another process that shares a layer with the tests."""

import os

SECRET_KEY = "tests-only-tests-only-tests-only-tests-only-tests"
INSTALLED_APPS = ["channels"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ["TOP_BROKER"]], "prefix": os.environ["TOP_PREFIX"]},
    }
}
