"""What happens after a failed attempt, as pure decisions: no clock, no I/O, no randomness but what is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jobqueue.errors import ConfigError, InvalidInput, Permanent, ProviderBusy, Transient


class Backoff(StrEnum):
    """How the delay grows with the attempt."""

    EXPONENTIAL = "exponential"  # base * 2^(n-1), drawn from 0 to that: "full jitter"
    LINEAR = "linear"  # base * n, ± 20 %
    FIBONACCI = "fibonacci"  # base * fib(n), ± 20 %
    FIXED = "fixed"  # base, ± 20 %


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and when a job type is tried again.

    Attributes:
        base_s, cap_s: seconds; no delay is longer than ``cap_s``, but for a provider's own Retry-After.
        max_attempts: attempts in all, >= 1.
        cooldown_after: failures of the transient kind in a row, in one worker, after which the whole job type rests.
        cooldown_s: seconds of the first rest; doubled by each further failure in the row, up to ``cap_s``.
    """

    backoff: Backoff = Backoff.EXPONENTIAL
    base_s: float = 1.0
    cap_s: float = 300.0
    max_attempts: int = 5
    cooldown_after: int = 10
    cooldown_s: float = 15.0


JITTER: Final = 0.2
MAX_RETRY_AFTER_S: Final = 3600.0


def _fibonacci(n: int) -> int:
    a, b = 1, 1
    for _ in range(n - 1):
        a, b = b, a + b
    return a


def delay_s(policy: RetryPolicy, attempt: int, random: float) -> float:
    """Seconds to wait after the ``attempt``-th attempt failed; ``random`` is drawn evenly from [0, 1).

    Full jitter spreads a herd best (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015); the gentler policies
    keep most of their delay.

    >>> policy = RetryPolicy(backoff=Backoff.FIBONACCI, base_s=2)
    >>> [delay_s(policy, n, 0.5) for n in (1, 2, 3, 4, 5)]
    [2.0, 2.0, 4.0, 6.0, 10.0]
    """
    n = min(attempt, 64)  # past that every policy has reached its cap, and 2**n would overflow a float
    match policy.backoff:
        case Backoff.EXPONENTIAL:
            return float(random * min(policy.cap_s, policy.base_s * 2 ** (n - 1)))
        case Backoff.LINEAR:
            full = policy.base_s * n
        case Backoff.FIBONACCI:
            full = policy.base_s * _fibonacci(n)
        case Backoff.FIXED:
            full = policy.base_s
    return min(policy.cap_s, full * (1 + JITTER * (2 * random - 1)))


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again in ``delay_s`` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Bury:
    """Give up; ``reason`` is ``permanent`` or ``exhausted``."""

    reason: str


def classify(error: BaseException) -> BaseException:
    """The error that counts: a call that doesn't fit the function's signature is the caller's, and permanent.

    Such a TypeError is raised by the call itself, so no frame of the function stands in its traceback.
    """
    if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        return InvalidInput(f"the arguments don't fit the job's function: {error}")
    return error


def decide(error: BaseException, attempt: int, policy: RetryPolicy, random: float) -> Retry | Bury:
    """What to do after the ``attempt``-th attempt failed with ``error``.

    Permanent errors, and those that only an operator can mend, are buried at once. A provider's Retry-After is honoured
    up to an hour, with jitter on top so that a herd doesn't come back in step.

    >>> decide(Permanent("no"), 1, RetryPolicy(), 0.5), decide(OSError(), 5, RetryPolicy(max_attempts=5), 0.5)
    (Bury(reason='permanent'), Bury(reason='exhausted'))
    >>> decide(ProviderBusy("wait", retry_after_s=30), 1, RetryPolicy(), 0.5)
    Retry(delay_s=33.0)
    """
    if isinstance(error, Permanent | ConfigError):
        return Bury("permanent")
    if attempt >= policy.max_attempts:
        return Bury("exhausted")
    delay = delay_s(policy, attempt, random)
    if isinstance(error, ProviderBusy) and error.retry_after_s is not None:
        asked = min(max(error.retry_after_s, 0.0), MAX_RETRY_AFTER_S)
        delay = max(delay, asked * (1 + JITTER * random))
    return Retry(delay)


@dataclass(slots=True)
class Circuit:
    """The cooldown of one job type: after too many transient failures in a row, all its jobs rest for a while.

    Feed it every outcome; it answers with the rest to declare, or None.

    >>> circuit = Circuit(RetryPolicy(cooldown_after=2, cooldown_s=10, cap_s=30))
    >>> [circuit.failed(Transient("down")) for _ in range(5)]
    [None, 10.0, 20.0, 30.0, 30.0]
    >>> circuit.succeeded(); circuit.failed(Transient("down"))
    """

    policy: RetryPolicy
    in_a_row: int = 0

    def succeeded(self) -> None:
        """An attempt got through: the dependency lives."""
        self.in_a_row = 0

    def failed(self, error: BaseException) -> float | None:
        """Seconds for which the job type should rest, when this failure opens the circuit."""
        if not isinstance(error, Transient | OSError | TimeoutError):
            return None  # the job's own trouble says nothing about the dependency
        self.in_a_row += 1
        excess = self.in_a_row - self.policy.cooldown_after
        if excess < 0:
            return None
        return float(min(self.policy.cap_s, self.policy.cooldown_s * 2 ** min(excess, 32)))
