"""A real Valkey between the processes, and a real nginx in front of them."""

from collections.abc import Iterator

import pytest

from tests.brokers import Broker, running

from .nginx import find_nginx


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[Broker]:
    with running() as broker:
        yield broker


@pytest.fixture
def broker(shared_broker: Broker) -> Broker:
    """A server with nothing in it."""
    shared_broker.cli("FLUSHALL")
    return shared_broker


@pytest.fixture(scope="session")
def nginx() -> str:
    """The nginx of this machine."""
    return find_nginx()
