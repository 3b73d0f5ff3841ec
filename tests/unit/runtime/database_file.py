"""A real SQLite file as one more database, whose connections really close."""

import asyncio
import contextlib

from asgiref.sync import sync_to_async
from django.db import connections

from channels._runtime import database
from channels.consumer import AsyncConsumer
from channels.testing import ApplicationCommunicator

ALIAS = "file"


@contextlib.contextmanager
def database_file(path, **options):
    """Configure it under ``ALIAS``, with settings of Django's such as ``CONN_MAX_AGE``."""
    connections.settings[ALIAS] = {**connections.settings["default"], "NAME": str(path), **options}
    try:
        yield
    finally:
        asyncio.run(sync_to_async(forget)())
        forget()
        del connections.settings[ALIAS]
        database.opened.clear()


def forget():
    """Drop this thread's connection, whatever state it is in."""
    if hasattr(connections._connections, ALIAS):
        connection = connections[ALIAS]
        connection.in_atomic_block = False
        connection.close()
        del connections[ALIAS]


def query():
    """Use the database; returns the connection object of this thread."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()
    return connections[ALIAS]


aquery = sync_to_async(query)


def is_open(connection):
    return connection.connection is not None


class Consumer(AsyncConsumer):
    """Does what each message says, and says what came of it."""

    async def test_do(self, message):
        await self.send({"type": "test.done", "result": await message["what"]()})


@contextlib.asynccontextmanager
async def connected():
    """A function that has a consumer await something in a handler and returns the result."""
    communicator = ApplicationCommunicator(Consumer(), {"type": "test"})

    async def do(what):
        await communicator.send_input({"type": "test.do", "what": what})
        return (await communicator.receive_output(5))["result"]

    try:
        yield do
    finally:
        communicator.stop(exceptions=False)
        await asyncio.gather(communicator.future, return_exceptions=True)
