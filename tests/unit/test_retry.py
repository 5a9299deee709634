"""The retry decision: how long, how often, and when not at all."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.errors import InvalidInput, Permanent, ProviderBusy, RejectedFile, Transient, Unavailable
from jobqueue.retry import (
    JITTER,
    MAX_RETRY_AFTER_S,
    Backoff,
    Bury,
    Circuit,
    Retry,
    RetryPolicy,
    classify,
    decide,
    delay_s,
)

policies = st.builds(
    RetryPolicy,
    backoff=st.sampled_from(Backoff),
    base_s=st.floats(0.001, 100),
    cap_s=st.floats(0.001, 10_000),
    max_attempts=st.integers(1, 1000),
)
chances = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 10**9), chances)
def test_a_delay_is_never_negative_and_never_above_the_cap(policy: RetryPolicy, attempt: int, chance: float) -> None:
    assert 0 <= delay_s(policy, attempt, chance) <= policy.cap_s


@given(policies, chances)
def test_a_later_attempt_never_waits_less_at_the_same_chance(policy: RetryPolicy, chance: float) -> None:
    delays = [delay_s(policy, attempt, chance) for attempt in range(1, 100)]
    assert all(earlier <= later for earlier, later in pairwise(delays))


@pytest.mark.parametrize(
    ("backoff", "factors"),
    [
        (Backoff.LINEAR, [1, 2, 3, 4, 5]),
        (Backoff.FIBONACCI, [1, 1, 2, 3, 5]),
        (Backoff.FIXED, [1, 1, 1, 1, 1]),
    ],
)
@given(chance=chances)
def test_the_gentle_policies_keep_within_a_fifth_of_their_step(
    backoff: Backoff, factors: list[int], chance: float
) -> None:
    policy = RetryPolicy(backoff=backoff, base_s=10)
    for attempt, factor in enumerate(factors, 1):
        assert abs(delay_s(policy, attempt, chance) - 10 * factor) <= 10 * factor * JITTER + 1e-9


@given(chances)
def test_full_jitter_is_drawn_from_zero_to_the_doubled_step(chance: float) -> None:
    policy = RetryPolicy(base_s=1, cap_s=1000)
    assert [delay_s(policy, n, chance) for n in (1, 2, 3, 4)] == [chance, 2 * chance, 4 * chance, 8 * chance]


@given(policies, st.integers(1, 2000), chances)
def test_a_permanent_error_is_buried_at_any_attempt(policy: RetryPolicy, attempt: int, chance: float) -> None:
    for error in (Permanent("no"), InvalidInput("no"), RejectedFile("no")):
        assert decide(error, attempt, policy, chance) == Bury("permanent")


@given(policies, chances)
def test_a_job_gets_exactly_its_attempts(policy: RetryPolicy, chance: float) -> None:
    last = policy.max_attempts
    assert isinstance(decide(OSError(), last - 1, policy, chance), Retry) or last == 1
    assert decide(OSError(), last, policy, chance) == Bury("exhausted")
    assert decide(OSError(), last + 1, policy, chance) == Bury("exhausted")


@given(st.floats(allow_nan=False), chances)
def test_a_retry_after_is_honoured_within_reason(asked_s: float, chance: float) -> None:
    match decide(ProviderBusy("wait", retry_after_s=asked_s), 1, RetryPolicy(base_s=1), chance):
        case Retry(waits_s):
            assert min(asked_s, MAX_RETRY_AFTER_S) <= waits_s <= MAX_RETRY_AFTER_S * (1 + JITTER)
        case other:
            pytest.fail(f"not a retry: {other}")


def test_a_call_that_does_not_fit_is_the_callers_error() -> None:
    async def f(ctx: object, n: int) -> None:
        raise TypeError("inside")

    async def called(*args: Any) -> BaseException | None:
        try:
            await f(*args)
        except TypeError as error:
            return error
        return None

    misfit, inside = asyncio.run(called(None)), asyncio.run(called(None, 1))
    assert misfit is not None
    assert inside is not None
    assert isinstance(classify(misfit), InvalidInput)
    assert classify(inside) is inside


def test_a_circuit_opens_after_its_row_of_failures_and_rests_ever_longer() -> None:
    circuit = Circuit(RetryPolicy(cooldown_after=3, cooldown_s=10, cap_s=35))
    rests = [circuit.failed(Unavailable("down")) for _ in range(6)]
    assert rests == [None, None, 10, 20, 35, 35]


def test_one_success_closes_a_circuit() -> None:
    circuit = Circuit(RetryPolicy(cooldown_after=2))
    circuit.failed(Transient("down"))
    circuit.succeeded()
    assert circuit.failed(Transient("down")) is None


def test_a_jobs_own_trouble_opens_no_circuit() -> None:
    circuit = Circuit(RetryPolicy(cooldown_after=1))
    assert [circuit.failed(error) for error in (ValueError("mine"), InvalidInput("mine"), KeyError("mine"))] == [
        None
    ] * 3
    assert circuit.failed(TimeoutError()) is not None


@given(st.integers(1, 10_000))
def test_no_row_of_failures_is_too_long(count: int) -> None:
    circuit = Circuit(RetryPolicy(cooldown_after=1, cap_s=100), in_a_row=count)
    rest_s = circuit.failed(Transient("down"))
    assert rest_s is not None
    assert 0 < rest_s <= 100
