"""Channel layers: messages between consumers, processes and machines."""

from .. import DEFAULT_CHANNEL_LAYER
from ..exceptions import ChannelFull, InvalidChannelLayerError
from .base import BaseChannelLayer, ChannelLayer, FullChannelLayer
from .manager import ChannelLayerManager, channel_layers, get_channel_layer
from .memory import InMemoryChannelLayer
from .sync import SyncChannelLayer, get_sync_channel_layer, group_send_on_commit, send_on_commit

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "BaseChannelLayer",
    "ChannelFull",
    "ChannelLayer",
    "ChannelLayerManager",
    "FullChannelLayer",
    "InMemoryChannelLayer",
    "InvalidChannelLayerError",
    "SyncChannelLayer",
    "channel_layers",
    "get_channel_layer",
    "get_sync_channel_layer",
    "group_send_on_commit",
    "send_on_commit",
]
