"""Connections to PostgreSQL, and what its errors mean."""

import re
from pathlib import Path
from typing import Any

import psycopg
from channels.exceptions import BrokerError
from channels.layers.broker import Link

SCHEMA = Path(__file__).with_name("schema.sql").read_bytes()

# What a server says that will not say otherwise in a moment. libpq has no codes for these.
_PERMANENT = re.compile(r"authentication failed|does not exist|no pg_hba|permission denied")


def is_transient(error: Exception) -> bool:
    broken = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return broken and not _PERMANENT.search(str(error))


def explain(error: Exception) -> Exception:
    return BrokerError(f"PostgreSQL refused what the channel layer needs: {error}")


async def run(connection: psycopg.AsyncConnection, statement: str, *args: Any) -> list[Any]:
    """The rows that a statement returns."""
    cursor = await connection.execute(statement.encode(), args or None, binary=True)
    return await cursor.fetchall() if cursor.description else []


async def connect(url: str, *topics: str) -> psycopg.AsyncConnection:
    """Open a connection that listens to topics, and make the layer's tables if need be."""
    connection = await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=5, application_name="channels"
    )
    try:
        if await run(connection, "SELECT to_regproc('channels.sweep') IS NULL") == [(True,)]:
            async with connection.transaction():  # one process makes them, others wait
                await run(connection, "SELECT pg_advisory_xact_lock(8152)")
                await connection.execute(SCHEMA)
        for topic in topics:
            await run(connection, f'LISTEN "{topic}"')
    except BaseException:
        connection.pgconn.finish()
        raise
    return connection


class PostgresLink(Link[psycopg.AsyncConnection]):
    """What one event loop sends."""

    def __init__(self, url: str) -> None:
        super().__init__(is_transient, explain)
        self._url = url

    async def connect(self) -> psycopg.AsyncConnection:
        return await connect(self._url)

    def is_open(self, connection: psycopg.AsyncConnection) -> bool:
        connection.pgconn.consume_input()  # so that it is noticed if the server has closed it
        return not connection.closed

    def close(self, connection: psycopg.AsyncConnection) -> None:
        connection.pgconn.finish()

    async def run(self, statement: str, *args: Any, repeat: bool = True) -> list[Any]:
        return await self.call(lambda link: run(link, statement, *args), repeat=repeat)
