"""What is public, and what is said when the client of RabbitMQ is not installed."""

import importlib
import sys

import pytest

from channels.layers import rabbitmq


def test_the_layer_is_public():
    assert rabbitmq.__all__ == ["RabbitMQChannelLayer"]


def test_without_its_client_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiormq", None)
    with pytest.raises(ImportError, match=r'needs aiormq .* pip install "channels\[rabbitmq\]"'):
        importlib.reload(rabbitmq)
