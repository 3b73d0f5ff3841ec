"""Tools for testing ASGI applications and channel layers.

The communicators drive an application as a server would, without a network; the live server test
case starts a real one. The reusable test suite for channel layers is
:mod:`channels.testing.conformance`.
"""

from .application import ApplicationCommunicator
from .http import HttpCommunicator
from .live import ChannelsLiveServerTestCase
from .websocket import WebsocketCommunicator

__all__ = [
    "ApplicationCommunicator",
    "ChannelsLiveServerTestCase",
    "HttpCommunicator",
    "WebsocketCommunicator",
]
