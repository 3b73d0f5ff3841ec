"""The settings of the test suite, with a user model that shares nothing with Django's."""

from .settings import *  # noqa: F403
from .settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.testapp"]
AUTH_USER_MODEL = "testapp.Member"
