"""A live page in Django's admin: every process, its connections, and buttons to disconnect.

Add ``"channels.contrib.admin"`` to ``INSTALLED_APPS``, and the page's WebSocket to ``asgi.py``::

    "websocket": URLRouter([live_route(), ...])

Whoever is staff and has the permission "Can view live connection" finds it in the admin's index.
"""

from .routing import live_route

__all__ = ["live_route"]
