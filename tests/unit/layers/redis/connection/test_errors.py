import pytest
from redis import exceptions as redis_errors

from channels.exceptions import BrokerError, BrokerUnavailable, ChannelsError
from channels.layers.redis.connection.errors import explain, is_transient
from channels.layers.redis.scripts import SCRIPTS


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
        (redis_errors.ResponseError("BUSY Redis is busy running a script."), True),
        (redis_errors.ResponseError("BUSYGROUP Consumer Group name already exists"), False),
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
        (redis_errors.ResponseError("MISCONF Errors writing to the AOF file"), "save to its disk"),
        (redis_errors.NoPermissionError("no permissions to run the 'xread' command"), "ACL"),
    ],
)
def test_errors_say_what_is_wrong(error, words):
    explained = explain(error)
    assert isinstance(explained, BrokerError)
    assert isinstance(explained, ChannelsError)
    assert words in str(explained)


def test_an_unavailable_broker_is_a_connection_error():
    assert issubclass(BrokerUnavailable, ConnectionError)


def test_the_command_that_a_script_may_not_use_is_named_where_the_server_names_a_line_only():
    script = SCRIPTS["register"]
    lines = script.source.decode().splitlines()
    line = 1 + next(n for n, text in enumerate(lines) if "redis.call('PEXPIRE'" in text)
    for text in (
        (
            f"The user executing the script can't run this command script: {script.sha}, "
            f"on @user_script:{line}."
        ),
        (
            f"Error running script (call to f_{script.sha}): @user_script:{line}: @user_script: "
            f"{line}: The user executing the script can't run this command or subcommand"
        ),
    ):
        assert "PEXPIRE" in str(explain(redis_errors.ResponseError(text)))


def test_what_a_server_repeats_is_not_told():
    error = redis_errors.ResponseError(
        "unknown command 'AUTH', with args beginning with: 'user' 'secret' "
    )
    assert "secret" not in str(explain(error))
