"""One real RabbitMQ for all tests here; each has a prefix of its own."""

import asyncio
import uuid

import aiormq
import pytest

from channels.layers.rabbitmq import RabbitMQChannelLayer
from channels.layers.rabbitmq.connecting import Nodes

from ....proxy import Proxy


@pytest.fixture
def prefix():
    return uuid.uuid4().hex


@pytest.fixture
async def make(rabbitmq, prefix):
    """Makes layers, each as another process would have it, and closes them."""
    made = []

    def make(url=None, **options):
        options = {"prefix": prefix, "response_timeout": 5.0, **options}
        made.append(RabbitMQChannelLayer(url or rabbitmq.url, **options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@pytest.fixture
def make_nodes(rabbitmq):
    """Makes nodes; of the RabbitMQ of the tests if no others are named."""

    def make_nodes(*urls, response_timeout=10.0):
        return Nodes(urls or [rabbitmq.url], None, 10, response_timeout)

    return make_nodes


@pytest.fixture
def nodes(make_nodes):
    return make_nodes()


@pytest.fixture
async def proxy(rabbitmq):
    """Stands between RabbitMQ and those that connect to its ``url``."""
    async with Proxy(("127.0.0.1", rabbitmq.port)) as proxy:
        proxy.url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        yield proxy


@pytest.fixture
async def admin(rabbitmq):
    """A channel of somebody else, who looks at what is at the broker, and changes it."""
    connection = await aiormq.connect(rabbitmq.url)
    yield await connection.channel()
    await connection.close()
