"""Channel layers: messages between consumers, processes and machines."""

from .base import BaseChannelLayer
from .manager import ChannelLayerManager, channel_layers, get_channel_layer
from .memory import InMemoryChannelLayer
from .sync import SyncChannelLayer, get_sync_channel_layer, group_send_on_commit, send_on_commit

__all__ = [
    "BaseChannelLayer",
    "ChannelLayerManager",
    "InMemoryChannelLayer",
    "SyncChannelLayer",
    "channel_layers",
    "get_channel_layer",
    "get_sync_channel_layer",
    "group_send_on_commit",
    "send_on_commit",
]
