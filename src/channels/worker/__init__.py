"""Consumers that are fed from named channels, in a process of their own.

A :class:`Worker` listens to channels of a channel layer and hands each message to the application
with the scope ``{"type": "channel", "channel": name}``. Per channel there is one application
instance at a time, which gets the messages in order, unless the worker is told to run more.
"""

from ..exceptions import ListenerFailed, NoClient
from .server import Worker

__all__ = ["ListenerFailed", "NoClient", "Worker"]
