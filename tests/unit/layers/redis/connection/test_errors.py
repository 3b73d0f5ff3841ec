import ssl

import pytest
from redis import exceptions as redis_errors

from channels.exceptions import BrokerError, BrokerUnavailable, ChannelsError
from channels.layers.redis.connection.errors import (
    explain,
    explain_opening,
    is_moving,
    is_transient,
)
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


@pytest.mark.parametrize(
    ("error", "moving"),
    [
        (redis_errors.AskError("1 127.0.0.1:7000"), True),
        (redis_errors.TryAgainError("TRYAGAIN Multiple keys request"), True),
        (redis_errors.ResponseError("Script attempted to access a non local key in a node"), True),
        (redis_errors.MovedError("1 127.0.0.1:7000"), False),
        (redis_errors.ClusterDownError("CLUSTERDOWN Hash slot not served"), False),
    ],
)
def test_keys_that_have_arrived_elsewhere_are_not_moving(error, moving):
    assert is_moving(error) is moving


def not_verified(code):
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL says"
    return error


def no_tls():
    """What OpenSSL raises when a server answers in plain text."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="h")
    incoming.write(b"-ERR unknown command\r\n")
    with pytest.raises(ssl.SSLError) as raised:
        client.do_handshake()
    return raised.value


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (not_verified(62), "issued for another name"),
        (not_verified(10), "out of date"),
        (not_verified(20), "cannot be trusted"),
        (FileNotFoundError("/ca.pem"), "ssl_ca_certs, ssl_certfile or ssl_keyfile"),
        (no_tls(), "does not speak TLS"),
    ],
)
def test_what_is_wrong_with_the_encryption_is_found_behind_what_redis_py_raises(reason, words):
    error = redis_errors.ConnectionError("Error connecting")
    error.__cause__ = OSError("something between")
    error.__cause__.__context__ = reason
    reason.__context__ = error  # some of redis-py's go round in a circle
    told = explain_opening("h:1", error, encrypted=True)
    assert isinstance(told, BrokerError)
    assert words in str(told)
    assert explain_opening("h:1", error, encrypted=False) is error


@pytest.mark.parametrize(
    ("error", "encrypted", "kind", "words"),
    [
        (redis_errors.InvalidResponse("HTTP/1.1 400"), False, BrokerError, "is no Redis server"),
        (redis_errors.ResponseError("DB index is out of range"), False, BrokerError, "as db"),
        (redis_errors.TimeoutError("Timeout"), True, redis_errors.TimeoutError, "write redis://"),
        (ConnectionResetError("reset by peer"), True, OSError, "ssl_certfile"),
        (
            redis_errors.ConnectionError("Connection closed by server."),
            False,
            redis_errors.ConnectionError,
            "rediss://",
        ),
        (
            redis_errors.AuthenticationError("unknown, with args beginning with: 'secret'"),
            True,
            redis_errors.AuthenticationError,
            "unknown",
        ),
    ],
)
def test_a_connection_that_cannot_be_opened_says_what_may_be_the_reason(
    error, encrypted, kind, words
):
    told = explain_opening("h:1", error, encrypted=encrypted)
    assert isinstance(told, kind)
    assert words in str(told)
    assert "secret" not in str(told)
    assert is_transient(told) is (kind not in (BrokerError, redis_errors.AuthenticationError))


def test_an_error_that_says_enough_is_raised_as_it_is():
    error = redis_errors.ConnectionError("Error 111 connecting to h:1. Connection refused.")
    assert explain_opening("h:1", error, encrypted=True) is error


def test_a_line_of_a_script_without_a_command_is_told_by_the_scripts_name():
    script = SCRIPTS["register"]
    lines = script.source.decode().splitlines()
    line = 1 + next(n for n, text in enumerate(lines) if "redis." not in text)
    text = f"user can't run this command script: {script.sha}, on @user_script:{line}."
    assert "of the script register" in str(explain(redis_errors.ResponseError(text)))
