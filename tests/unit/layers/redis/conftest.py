"""A real server for all tests here; each has a prefix of its own."""

import uuid

import pytest

from channels.layers.redis.connection.hosts import parse_hosts

from ....brokers import running


@pytest.fixture(scope="session")
def shared_broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
def prefix():
    return uuid.uuid4().hex


@pytest.fixture
def base(prefix):
    return f"{{{prefix}:0}}"


@pytest.fixture
def server(shared_broker, prefix):
    servers, _ = parse_hosts([shared_broker.address], prefix)
    return servers[0]


@pytest.fixture
def redis(shared_broker):
    with shared_broker.client() as client:
        yield client
