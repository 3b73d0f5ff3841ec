"""A channel layer over PostgreSQL: the example of the guide "Write your own channel layer"."""

from typing import Any, ClassVar

import psycopg
from channels.exceptions import InvalidChannelLayerError
from channels.layers.broker import BrokerLayer

from .transport import PostgresTransport

__all__ = ["PostgresChannelLayer"]


class PostgresChannelLayer(BrokerLayer):
    """Carries messages between processes through a PostgreSQL database.

    Args:
        url: of the database, or a connection string of libpq.
        prefix: tells the layer from others in the same database.
        options: of :class:`~channels.layers.broker.BrokerLayer`.
    """

    supports_state: ClassVar[bool] = False
    supports_tokens: ClassVar[bool] = False
    supports_places: ClassVar[bool] = False

    def __init__(self, url: str, prefix: str = "asgi", **options: Any) -> None:
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise InvalidChannelLayerError(f"url is no connection string: {error}") from error
        super().__init__(
            lambda recipient: PostgresTransport(recipient, url, prefix), prefix=prefix, **options
        )
