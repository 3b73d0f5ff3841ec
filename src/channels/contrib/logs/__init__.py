"""Log records that say which connection they are about, and a formatter that writes them as JSON.

:class:`ConnectionFilter` in the setting ``LOGGING`` is all that is needed.
"""

from .connections import connection_fields, connection_id
from .records import ConnectionFilter, JSONFormatter

__all__ = ["ConnectionFilter", "JSONFormatter", "connection_fields", "connection_id"]
