"""The example of the guide "Write your own channel layer" keeps every promise."""

import asyncio
import uuid

import pytest
from examples.postgres_layer import PostgresChannelLayer

from channels.testing.conformance import LayerConformance
from channels.testing.conformance.base import LayerHarness

from ...postgres import Postgres, running


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


class PostgresHarness(LayerHarness):
    keeps_named_channels = True
    law_examples = 15

    server: Postgres

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, server):
        cls.server = server

    def make_layer(self, **config):
        return self.connect(uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return self.connect(layer.prefix, **config)

    def connect(self, prefix, **config):
        return PostgresChannelLayer(self.server.url, prefix, **config)

    async def restart_broker(self, layer):
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)


class TestPostgres(PostgresHarness, LayerConformance):
    pass
