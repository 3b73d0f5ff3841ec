import pytest

from .cluster_node import ClusterNode


@pytest.fixture(scope="session")
def cluster_node():
    node = ClusterNode()
    try:
        yield node.start()
    finally:
        node.remove()
