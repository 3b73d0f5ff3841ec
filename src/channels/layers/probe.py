"""Does a channel layer carry messages? A message to this process itself shows it."""

import uuid

from .base import ChannelLayer

__all__ = ["carries_messages"]


async def carries_messages(layer: ChannelLayer) -> bool:
    """Send a message through a channel layer to a new channel of this process, and receive it.

    Args:
        layer: the channel layer.

    Returns:
        Whether what came is what was sent.
    """
    token = uuid.uuid4().hex
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "health.probe", "token": token})
    message = await layer.receive(channel)
    return message.get("token") == token
