"""What crosses Redis: plain data both ways, exceptions by name, and never a pickle."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from arq.worker import JobExecutionFailed
from hypothesis import given
from hypothesis import strategies as st

from jobqueue import errors
from jobqueue.errors import InvalidInput, JobFailed, JobqueueError, ProviderBusy, UnreadablePayload
from jobqueue.job import TRANSITIONS, State, decode, encode, format_traceback, new_id

zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
atoms = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.binary()
    | st.text() | st.dates() | st.datetimes(timezones=zones) | st.decimals(allow_nan=False) | st.uuids()
)  # fmt: skip
values = st.recursive(atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(st.dictionaries(st.text(), values))
def test_plain_data_survives(data: dict[str, Any]) -> None:
    again = decode(encode(data))
    assert again == data


def test_types_survive_and_not_only_values() -> None:
    data = {"day": date(2024, 5, 1), "at": datetime(2024, 5, 1, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"x"}
    assert {key: type(value) for key, value in decode(encode(data)).items()} == {k: type(v) for k, v in data.items()}
    assert str(decode(encode(data))["price"]) == "1.50"


def test_tuples_become_lists() -> None:
    assert decode(encode({"a": (1, (2,))})) == {"a": [1, [2]]}


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [object(), {1}, 1j, 2**64, -(2**63) - 1, lambda: None, datetime(2024, 5, 1), "\ud800", CYCLE],  # noqa: DTZ001  # a naive one
    ids=["object", "set", "complex", "too large", "too small", "function", "naive datetime", "surrogate", "cycle"],
)
def test_what_is_not_plain_data_is_refused_by_its_senders_side(value: object) -> None:
    with pytest.raises(InvalidInput, match="can't be put on the queue"):
        encode({"a": value})


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(UnreadablePayload):
        assert isinstance(decode(data), dict)


@given(st.integers(0, 127), st.binary())
def test_any_extension_is_read_or_refused(code: int, data: bytes) -> None:
    with suppress(UnreadablePayload):
        assert decode(msgpack.packb({"a": [msgpack.ExtType(code, data)]})).keys() == {"a"}


@given(st.recursive(st.integers() | st.text(), st.lists, max_leaves=5), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_pickle_is_refused_whatever_it_holds(value: object, protocol: int) -> None:
    with pytest.raises(UnreadablePayload):
        decode(pickle.dumps({"f": value}, protocol=protocol))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"), KeyError("x"), OSError("gone"), TimeoutError(), ZeroDivisionError("by zero"),
        errors.InvalidInput("no"), errors.LeaseLost("yes"), ProviderBusy("wait"), JobExecutionFailed("arq's"),
        asyncio.CancelledError(),
    ],
    ids=repr,
)  # fmt: skip
def test_known_exceptions_come_back_as_themselves(error: BaseException) -> None:
    again = decode(encode({"r": error}))["r"]
    assert type(again) is type(error)
    assert isinstance(error, KeyError) or str(again) == str(error)


class Foreign(Exception):
    """Of a class that the reader doesn't rebuild."""


def test_other_exceptions_come_back_as_what_they_were_called() -> None:
    def fail() -> None:
        raise Foreign("from elsewhere")

    with pytest.raises(Foreign) as caught:
        fail()
    again = decode(encode({"r": caught.value}))["r"]
    assert isinstance(again, JobFailed)
    assert again.error_class.endswith("test_job_codec.Foreign")
    assert again.message == "from elsewhere"
    assert 'raise Foreign("from elsewhere")' in again.traceback
    twice = decode(encode({"r": again}))["r"]
    assert (twice.error_class, twice.message, twice.traceback) == (again.error_class, again.message, again.traceback)


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "builtins.eval", "builtins.SystemExit", "builtins.KeyboardInterrupt", "builtins.object",
        "builtins.ExceptionGroup", "builtins.UnicodeDecodeError", "jobqueue.errors.JobFailed", "arq.worker.Worker",
        "jobqueue.errors.annotations", "", ".", "builtins.", "builtins.__loader__", "subprocess.CalledProcessError",
    ],
)  # fmt: skip
def test_no_name_in_redis_calls_anything_but_an_exception(name: str) -> None:
    packed = msgpack.packb({"r": msgpack.ExtType(1, msgpack.packb((name, "echo hello", "")))})
    again = decode(packed)["r"]
    assert type(again) is JobFailed
    assert again.error_class == name


@pytest.mark.parametrize("parts", [(), ("a",), (1, 2, 3), ("builtins.ValueError", {}, []), "text", None])
def test_a_malformed_exception_is_refused_or_told(parts: object) -> None:
    try:
        again = decode(msgpack.packb({"r": msgpack.ExtType(1, msgpack.packb(parts))}))["r"]
    except UnreadablePayload:
        return
    assert isinstance(again, Exception)


@pytest.mark.parametrize("text", ["bad \ud800 name", "x" * 1_000_000])
def test_no_exception_is_too_odd_or_too_large_to_be_told(text: str) -> None:
    packed = encode({"r": ValueError(text)})
    assert len(packed) < 100_000
    assert isinstance(decode(packed)["r"], ValueError)


def test_a_long_traceback_keeps_its_ends() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("y" * 50_000 + "the end")
        deep(n - 1)

    try:
        deep(50)
    except ValueError as exc:
        text = format_traceback(exc)
    assert len(text) < 20_000
    assert text.startswith("Traceback")
    assert text.rstrip().endswith("the end")
    assert "left out" in text


def test_every_error_of_the_tree_is_one_that_a_reader_rebuilds() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, JobqueueError)]
    for cls in set(classes) - {JobFailed}:
        assert type(decode(encode({"r": cls("why")}))["r"]) is cls


def test_ids_sort_by_time_and_never_meet() -> None:
    ids = [new_id("ocr") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [i[:14] for i in ids] == sorted(i[:14] for i in ids)
    assert all(i.startswith("ocr-") and len(i) == 30 for i in ids)


def test_nothing_leads_out_of_a_finished_state_but_a_replay() -> None:
    assert TRANSITIONS.keys() == set(State)
    leads = {state: TRANSITIONS[state] for state in State if state.finished}
    assert leads == {
        State.SUCCEEDED: frozenset(),
        State.FAILED: frozenset({State.QUEUED}),
        State.CANCELLED: frozenset(),
    }
