"""Reports of crashes to Sentry that say which connection they are about, and hold no secrets.

Call :func:`instrument` after ``sentry_sdk.init()``, or add ``"channels.contrib.sentry"`` to
``INSTALLED_APPS``.
"""

from .instrumentation import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
