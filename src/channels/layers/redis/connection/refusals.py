"""What went wrong when a connection was opened, in words for whoever wrote ``hosts``."""

import re
import ssl
from collections.abc import Iterator

from redis import exceptions as redis_errors

from ....exceptions import BrokerError

__all__ = ["explain_opening", "shorn"]

# OpenSSL's numbers for a certificate that is not valid yet or no longer, and for one that is for
# another name, address or IP address.
_OUT_OF_DATE, _OTHER_NAME = (9, 10), (62, 63, 64)

# What OpenSSL calls an answer that is no TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")

# What redis-py says of a server that hangs up as soon as it is spoken to.
_HUNG_UP = re.compile(
    "reset by peer|connection lost|connection closed|closed by server", re.IGNORECASE
)


def shorn(text: object) -> str:
    """The text of an error without the words that a server repeats: one may be a password.

    That is how a server answers that has no ``AUTH``, since it was renamed.
    """
    return re.sub(r"(?s),? with args beginning with:.*", "", str(text))


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
    text = shorn(error)
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
