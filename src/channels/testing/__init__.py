"""Tools for testing ASGI applications and channel layers.

The communicators drive an application as a server would, without a network. The reusable test
suite for channel layers is :mod:`channels.testing.conformance`.
"""

from .application import ApplicationCommunicator
from .http import HttpCommunicator
from .websocket import WebsocketCommunicator

__all__ = ["ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"]
