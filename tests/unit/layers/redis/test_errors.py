import pytest
from redis import exceptions as redis_errors

from channels.exceptions import ChannelsError
from channels.layers.redis.errors import backoff, explain, is_transient
from channels.layers.redis.link import BrokerError, BrokerUnavailable


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (redis_errors.ConnectionError(), True),
        (redis_errors.BusyLoadingError(), True),
        (redis_errors.ReadOnlyError(), True),
        (redis_errors.MovedError("1 127.0.0.1:7000"), True),
        (redis_errors.ClusterDownError("down"), True),
        (redis_errors.ResponseError("MASTERDOWN no"), True),
        (redis_errors.AuthenticationError(), False),
        (redis_errors.ResponseError("WRONGTYPE no"), False),
        (redis_errors.OutOfMemoryError(), False),
        (ValueError(), False),
    ],
)
def test_what_may_pass_is_transient(error, transient):
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis_errors.OutOfMemoryError("OOM"), "maxmemory"),
        (redis_errors.ResponseError("OOM command not allowed"), "maxmemory"),
        (redis_errors.AuthenticationError("no"), "credentials"),
        (redis_errors.ResponseError("WRONGTYPE"), "WRONGTYPE"),
    ],
)
def test_errors_say_what_is_wrong(error, words):
    explained = explain(error)
    assert isinstance(explained, BrokerError)
    assert isinstance(explained, ChannelsError)
    assert words in str(explained)


def test_an_unavailable_broker_is_a_connection_error():
    assert issubclass(BrokerUnavailable, ConnectionError)


def test_waits_grow_to_a_second_and_differ():
    for attempt in (1, 2, 5, 20, 50):
        waits = {backoff(attempt) for _ in range(50)}
        assert all(0 <= wait <= min(1.0, 0.05 * 2 ** (attempt - 1)) for wait in waits)
        assert len(waits) > 10
