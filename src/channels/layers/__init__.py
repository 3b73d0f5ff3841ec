"""Channel layers: messages between consumers, processes and machines."""

from .base import BaseChannelLayer
from .manager import ChannelLayerManager, channel_layers, get_channel_layer
from .memory import InMemoryChannelLayer

__all__ = [
    "BaseChannelLayer",
    "ChannelLayerManager",
    "InMemoryChannelLayer",
    "channel_layers",
    "get_channel_layer",
]
