"""What the framework itself can check."""

from django.db import connections

from ...layers import get_channel_layer
from ...layers.probe import carries_messages
from .probing import CheckFailed

__all__ = ["query_database", "round_trip"]


async def round_trip(alias: str) -> None:
    """Send a message through a channel layer to a new channel of this process, and receive it.

    Args:
        alias: of the layer in ``CHANNEL_LAYERS``.

    Raises:
        CheckFailed: there is no such layer, or what came is not what was sent.
    """
    layer = get_channel_layer(alias)
    if layer is None:
        raise CheckFailed(f"CHANNEL_LAYERS has no {alias!r}")
    if not await carries_messages(layer):
        raise CheckFailed("the layer delivered another message than was sent")


def query_database(alias: str) -> None:
    """Connect to a database, and send a query that reads nothing.

    A connection of this thread's own, so that a new one is known to be possible.

    Args:
        alias: in ``DATABASES``.
    """
    if alias not in connections.settings:
        raise CheckFailed(f"DATABASES has no {alias!r}")
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1{connection.features.bare_select_suffix}")
        cursor.fetchone()
