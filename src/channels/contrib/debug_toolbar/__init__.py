"""A panel of Django Debug Toolbar: what a request did with channel layers.

Add ``"channels.contrib.debug_toolbar.ChannelLayersPanel"`` to ``DEBUG_TOOLBAR_PANELS``. The toolbar
shows HTTP requests only; what WebSockets do is shown by ``manage.py channels_top``.
"""

try:
    import debug_toolbar as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "The panel of channel layers needs Django Debug Toolbar: pip install django-debug-toolbar"
    ) from error

from .panel import ChannelLayersPanel

__all__ = ["ChannelLayersPanel"]
