"""What the errors of a server mean: whether to try again, and what to tell the caller."""

import re
import ssl
from collections.abc import Iterator

from redis import exceptions as redis_errors

from ....exceptions import BrokerError, ChannelsError
from ..scripts import SCRIPTS

__all__ = [
    "explain",
    "explain_opening",
    "is_moving",
    "is_permanent",
    "is_transient",
    "without_secrets",
]

# What a script says when keys that it works out itself are being moved. None of ours has changed
# anything before it has looked at all of them.
_MOVING = ("access a non local key", "during rehashing of the slot")

# Another client's script has kept the server for longer than busy-reply-threshold.
_BUSY = "BUSY "

# Refusals that redis-py has no class for; Redis before 7 wraps those that end a script.
_TRANSIENT = ("MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "-READONLY", *_MOVING)


def is_transient(error: BaseException) -> bool:
    """Whether a server that answered so may answer otherwise in a moment."""
    if isinstance(error, redis_errors.ResponseError):
        return (
            isinstance(
                error,
                redis_errors.AskError  # MOVED too
                | redis_errors.TryAgainError
                | redis_errors.ClusterDownError
                | redis_errors.ReadOnlyError,
            )
            or any(words in str(error) for words in _TRANSIENT)
            or str(error).startswith(_BUSY)
        )
    return isinstance(
        error,
        redis_errors.ConnectionError | redis_errors.TimeoutError | OSError | TimeoutError,
    ) and not isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError)


def is_moving(error: Exception) -> bool:
    """Whether the keys are on their way to another node, and nothing can be done but wait."""
    if isinstance(error, redis_errors.MovedError):  # they have arrived
        return False
    return isinstance(error, redis_errors.AskError | redis_errors.TryAgainError) or any(
        words in str(error) for words in _MOVING
    )


def is_permanent(error: Exception) -> bool:
    """Whether an error is an answer, or of our own, so that connecting once more leads to it."""
    return isinstance(
        error,
        ChannelsError
        | redis_errors.ResponseError
        | redis_errors.AuthenticationError
        | redis_errors.AuthorizationError,
    )


def without_secrets(text: object) -> str:
    """The text of an error without the words that a server repeats: one may be a password.

    That is how a server answers that has no ``AUTH``, since it was renamed.
    """
    return re.sub(r"(?s),? with args beginning with:.*", "", str(text))


def explain(error: Exception, what: str = "a command") -> Exception:
    """What the caller is told when the broker answered ``what`` with ``error``."""
    if isinstance(error, ChannelsError):
        return error
    text = without_secrets(error)
    # Redis 6 wraps what goes wrong in a script.
    if isinstance(error, redis_errors.OutOfMemoryError) or "OOM command" in text:
        return BrokerError(
            "The broker is out of memory (maxmemory) and takes no more messages; give it more, or "
            f"send less: {text}"
        )
    if (
        isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError)
        or "unauthenticated" in text  # what a long command is answered before signing in
    ):
        return BrokerError(f"The broker refused the credentials: {text}")
    if isinstance(error, redis_errors.NoPermissionError) or _FORBIDDEN.search(text):
        return BrokerError(
            f"The broker refused {what}{_in_script(text)}, as the rights (ACL) of the user that "
            f"hosts names do not allow it: {text}"
        )
    if "MISCONF" in text:
        return BrokerError(f"The broker cannot save to its disk, and takes no messages: {text}")
    return BrokerError(f"The broker refused {what}: {text}")


# What users who lack a right are told of commands, and of commands in scripts.
_FORBIDDEN = re.compile(r"no permissions to|can't run this command|NOPERM", re.IGNORECASE)

# Where a script failed: its name, with which Redis 6 makes a function, and the line.
_LINE = re.compile(r"([0-9a-f]{40}).*?user_script:(\d+)", re.DOTALL)


def _in_script(text: str) -> str:
    """The commands that a line of a script holds. Redis before 7.2 names the line only."""
    found = _LINE.search(text)
    script = found and next((s for s in SCRIPTS.values() if s.sha == found[1]), None)
    if not found or not script:
        return ""
    line = script.source.decode().splitlines()[int(found[2]) - 1]
    commands = re.findall(r"redis\.p?call\('([^']+)'(?:, '([A-Z]+)')?", line)
    named = " or ".join(" ".join(filter(None, command)) for command in commands)
    return f", {named}" if named else f" of the script {script.name}"


# What goes wrong when a connection is opened, in words for people who write hosts.

# OpenSSL's numbers for a certificate that is not valid yet or no longer, and for one that is for
# another name, address or IP address.
_OUT_OF_DATE, _OTHER_NAME = (9, 10), (62, 63, 64)

# What OpenSSL calls an answer that is no TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")

# What redis-py says of a server that hangs up as soon as it is spoken to.
_HUNG_UP = re.compile(
    "reset by peer|connection lost|connection closed|closed by server", re.IGNORECASE
)


def explain_opening(where: str, error: Exception, *, encrypted: bool) -> Exception:
    """What to raise instead of ``error`` when no connection could be opened.

    Args:
        where: the address.
        error: what redis-py raised.
        encrypted: whether the connection was to be encrypted.

    Returns:
        ``BrokerError`` for what no second attempt puts right; else an error of the same kind that
        holds no password, and what may be the reason.
    """
    if encrypted:
        for reason in _reasons(error):
            told = _explain_tls(where, reason)
            if told is not None:
                return BrokerError(told)
    text = without_secrets(error)
    if isinstance(error, redis_errors.InvalidResponse):
        return BrokerError(f"What answers at {where} is no Redis server ({text})")
    if text.startswith("DB index"):
        return BrokerError(f"{where} has no database of the number that hosts names as db: {text}")
    if encrypted and isinstance(error, redis_errors.TimeoutError):
        text += f" (does {where} expect TLS? Without it, write redis:// or leave out ssl)"
    elif encrypted and _HUNG_UP.search(text):
        text += " (it may ask for a certificate: ssl_certfile, ssl_keyfile)"
    elif _HUNG_UP.search(text):
        text += f" (if the server at {where} is up, it may expect TLS: rediss://)"
    if text == str(error):
        return error
    kind = next(kind for kind in _KINDS if isinstance(error, kind))
    return kind(text)


# Of these, the first that an error is one of stands for it, as far as the layers are concerned.
_KINDS: tuple[type[Exception], ...] = (
    redis_errors.AuthenticationError,
    redis_errors.TimeoutError,
    redis_errors.ConnectionError,
    redis_errors.ResponseError,
    OSError,
    Exception,
)


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it; some of redis-py's go round in a circle."""
    seen: list[BaseException] = []
    reason: BaseException | None = error
    while reason is not None and all(reason is not known for known in seen):
        yield reason
        seen.append(reason)
        reason = reason.__cause__ or reason.__context__


def _explain_tls(where: str, reason: BaseException) -> str | None:
    """What is wrong with the encryption, if ``reason`` says so."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        if reason.verify_code in _OTHER_NAME:
            return (
                f"The certificate of {where} was issued for another name "
                f"({reason.verify_message}); write that name in hosts, or set ssl_check_hostname "
                "to False, so that only the authority is verified, which ssl_ca_certs names"
            )
        if reason.verify_code in _OUT_OF_DATE:
            return f"The certificate of {where} is out of date ({reason.verify_message}); renew it"
        return (
            f"The certificate of {where} cannot be trusted ({reason.verify_message}); "
            "ssl_ca_certs must name the file with the certificate of the authority that signed it"
        )
    if isinstance(reason, FileNotFoundError):
        return "A file that ssl_ca_certs, ssl_certfile or ssl_keyfile names is not there"
    if isinstance(reason, ssl.SSLError) and reason.reason in _NO_TLS:
        return f"{where} does not speak TLS; write redis:// instead of rediss://, or leave out ssl"
    return None
