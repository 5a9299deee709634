"""What an operator must mend when Redis can't be reached, where waiting doesn't help."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from jobqueue.broker.failover import REFUSALS
from jobqueue.broker.scripts import answered
from jobqueue.errors import JobqueueError, Unavailable
from jobqueue.settings import TlsFiles

T = TypeVar("T")
_WRONG_NAME: Final = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH
_OUT_OF_DATE: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def remedy(error: BaseException) -> str | None:
    """What to do about an error of a connection; None when trying again later may do.

    >>> remedy(AuthenticationError("invalid username-password pair or user is disabled."))
    'mend the user and password in JOBQUEUE_REDIS_URL'
    >>> remedy(ConnectionResetError())
    """
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return _certificate(cause.verify_code)
            case ssl.SSLError():
                return _handshake(cause.reason or "")
            case NoPermissionError() | AuthorizationError():
                return "give Redis's user the rights that 'jobqueue acl' prints"
            case AuthenticationError():
                return "mend the user and password in JOBQUEUE_REDIS_URL"
    return None


def refusal(error: BaseException) -> RedisError | None:
    """The server's refusal of a user, a password or a right that an error is, or hides; waiting doesn't mend it."""
    return next((cause for cause in _causes(error) if isinstance(cause, REFUSALS)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it: redis-py wraps what it meets while connecting, and not always with a cause."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


@contextmanager
def answering() -> Iterator[None]:
    """Turn redis-py's errors into ours.

    Raises:
        Unavailable: Redis doesn't answer as it should; says what to do.
    """
    try:
        yield
    except JobqueueError:
        raise
    except (RedisError, ConnectionError) as exc:
        to_do = remedy(exc) or "see JOBQUEUE_REDIS_URL"
        raise Unavailable(f"Redis doesn't answer as it should ({exc}): {to_do}") from exc


async def ask(call: Awaitable[T]) -> T:
    """What Redis says to one call. Raises `Unavailable` when it says nothing, or that it can't."""
    try:
        with answering():
            return await answered(call)
    except OSError as exc:
        raise Unavailable(f"Redis doesn't answer ({exc!r}): see JOBQUEUE_REDIS_URL") from exc


def look_at(url: str, tls: TlsFiles) -> str:
    """Where to look when a server doesn't answer and its silence is all there is to go by.

    >>> look_at("redis://cache", TlsFiles())
    'see JOBQUEUE_REDIS_URL'
    """
    if not url.startswith("rediss"):
        return "see JOBQUEUE_REDIS_URL"
    # A plain server waits for the rest of what it takes for a command; one that wants a certificate hangs up.
    asks = "" if tls.cert else ", and does it ask for a client's certificate (JOBQUEUE_REDIS_CERT_FILE)"
    return f"see JOBQUEUE_REDIS_URL: does that port speak TLS{asks}?"


def _certificate(code: int) -> str:
    if code in _WRONG_NAME:
        return (
            "the server's certificate is made out to another host: use that name in JOBQUEUE_REDIS_URL, or set "
            "JOBQUEUE_REDIS_CHECK_HOSTNAME=false"
        )
    if code in _OUT_OF_DATE:
        return "the server's certificate has expired, or isn't valid yet: renew it on the server, or mend the clock"
    return "set JOBQUEUE_REDIS_CA_FILE to the certificate of the authority that signed the server's"


def _handshake(reason: str) -> str | None:
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "that port doesn't speak TLS: name the server's TLS port in JOBQUEUE_REDIS_URL, or begin it with redis:"
    if "CERTIFICATE_REQUIRED" in reason or "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason:
        return (
            "the server wants a certificate that it trusts: set JOBQUEUE_REDIS_CERT_FILE and JOBQUEUE_REDIS_KEY_FILE "
            "to one signed by its authority"
        )
    return None
