"""A job's identity, its states, and the bytes that stand for it in Redis.

The payload is arq's own dictionary (``t f a k et``) packed with msgpack, plus three optional keys of ours that a
plain arq worker ignores: ``v`` the schema version, ``x`` the expiry (epoch milliseconds), ``m`` the metadata.
Nothing here does I/O.
"""

from __future__ import annotations

import asyncio
import builtins
import enum
import importlib
import itertools
import os
import time
import traceback
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgpack

from jobqueue import errors
from jobqueue.errors import InvalidInput, JobFailed, UnreadablePayload

SCHEMA_VERSION: Final = 1
_COUNT: Final = itertools.count()
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread


class State(enum.StrEnum):
    """Where a job stands. ``value`` is what the API shows."""

    DEFERRED = "deferred"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def finished(self) -> bool:
        """Whether no transition leads out of this state, but for a replay."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED}


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.DEFERRED: frozenset({State.QUEUED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.RETRYING, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.RETRYING: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),  # a replay
    State.CANCELLED: frozenset(),
    State.UNKNOWN: frozenset(),
}


def new_id(kind: str) -> str:
    """A fresh id ``<kind>-<26 base-32 characters>``: sorts by time, readable in a URL and a shell.

    ``kind`` is the short queue name of a job, ``task`` for a flow, and so on. A ULID (github.com/ulid/spec): 48 bits of
    milliseconds and 80 more, of which 16 count, so that what one process makes within a millisecond sorts in order.

    >>> new_id("ocr")[:4], len(new_id("ocr"))
    ('ocr-', 30)
    """
    count = next(_COUNT) & 0xFFFF
    number = (time.time_ns() // 1_000_000) << 80 | count << 64 | int.from_bytes(os.urandom(8), "big")
    return f"{kind}-" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def payload(
    function: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    enqueued_ms: int,
    attempt: int | None = None,
    expires_ms: int | None = None,
    meta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The dictionary that stands for a job: arq's five keys, then ours.

    >>> sorted(payload("f", (), {}, enqueued_ms=0))
    ['a', 'et', 'f', 'k', 't', 'v']
    """
    data: dict[str, Any] = {"t": attempt, "f": function, "a": args, "k": kwargs, "et": enqueued_ms, "v": SCHEMA_VERSION}
    if expires_ms is not None:
        data["x"] = expires_ms
    if meta:
        data["m"] = meta
    return data


# ── codec ────────────────────────────────────────────────────────────────────────────────────────────────────────

_EXT_EXCEPTION: Final = 1
_EXT_DATETIME: Final = 2
_EXT_DATE: Final = 3
_EXT_DECIMAL: Final = 4
_EXT_UUID: Final = 5
_MAX_TRACEBACK_CHARS: Final = 16_000
_MAX_MESSAGE_CHARS: Final = 2_000

# Exceptions that are rebuilt by name when they are read back; every other class comes back as JobFailed.
_REBUILT_MODULES: Final = {
    "builtins": builtins,
    "jobqueue.errors": errors,
}
_REBUILT_NAMES: Final = {
    "asyncio.exceptions.CancelledError": asyncio.CancelledError,
    "asyncio.exceptions.TimeoutError": TimeoutError,
}
_REBUILT_ARQ: Final = {"arq.worker.JobExecutionFailed", "arq.jobs.SerializationError", "arq.jobs.DeserializationError"}


def class_name(cls: type) -> str:
    """The dotted name under which an exception class crosses Redis.

    >>> class_name(ValueError)
    'builtins.ValueError'
    """
    return f"{cls.__module__}.{cls.__qualname__}"


def error_text(error: BaseException) -> str:
    r"""An exception's message: at most 2,000 characters, encodable, and told even where its ``__str__`` fails.

    >>> error_text(ValueError("bad \ud800 name"))
    'bad ? name'
    """
    try:
        text = str(error)
    except Exception as exc:  # noqa: BLE001  # whatever a job raises has to be recorded
        text = f"(its message can't be told: {type(exc).__name__})"
    return _encodable(text[:_MAX_MESSAGE_CHARS])


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def format_traceback(exc: BaseException) -> str:
    """The traceback as text, cut from the middle to a bounded length."""
    text = _encodable("".join(traceback.format_exception(exc)))
    if len(text) <= _MAX_TRACEBACK_CHARS:
        return text
    half = _MAX_TRACEBACK_CHARS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _pack_extra(value: object) -> msgpack.ExtType:
    match value:
        case BaseException():
            remote = value if isinstance(value, JobFailed) else None
            parts = (
                (remote.error_class, remote.message, remote.traceback)
                if remote
                else (class_name(type(value)), error_text(value), format_traceback(value))
            )
            return msgpack.ExtType(_EXT_EXCEPTION, msgpack.packb(parts))
        case datetime():
            if value.tzinfo is None:
                raise TypeError(f"naive datetime {value!r}: give it a time zone")
            return msgpack.ExtType(_EXT_DATETIME, value.isoformat().encode())
        case date():
            return msgpack.ExtType(_EXT_DATE, value.isoformat().encode())
        case Decimal():
            return msgpack.ExtType(_EXT_DECIMAL, str(value).encode())
        case UUID():
            return msgpack.ExtType(_EXT_UUID, value.bytes)
    raise TypeError(f"a {type(value).__qualname__} can't be put on the queue: use plain data")


def _unpack_extra(code: int, data: bytes) -> object:
    match code:
        case 1:
            return _rebuild_exception(*msgpack.unpackb(data))
        case 2:
            return datetime.fromisoformat(data.decode())
        case 3:
            return date.fromisoformat(data.decode())
        case 4:
            return Decimal(data.decode())
        case 5:
            return UUID(bytes=data)
    return msgpack.ExtType(code, data)  # written by a newer version: handed on untouched


def _rebuild_exception(name: str, message: str, trace: str) -> BaseException:
    cls: Any = _REBUILT_NAMES.get(name)
    if cls is None:
        module, _, short = name.rpartition(".")
        if module in _REBUILT_MODULES:
            cls = getattr(_REBUILT_MODULES[module], short, None)
        elif name in _REBUILT_ARQ:
            cls = getattr(importlib.import_module(module), short, None)
    if not (isinstance(cls, type) and issubclass(cls, Exception | asyncio.CancelledError)) or cls is JobFailed:
        return JobFailed(name, message, trace)
    try:
        return cls(message) if message else cls()
    except TypeError:  # UnicodeDecodeError and its like want more than a message
        return JobFailed(name, message, trace)


_packer_options: Final[dict[str, Any]] = {"default": _pack_extra, "use_bin_type": True, "datetime": False}


def encode(data: dict[str, Any]) -> bytes:
    """Pack a payload or result; the ``job_serializer`` of every queue.

    Tuples become lists. ``datetime`` (aware), ``date``, ``Decimal``, ``UUID`` and exceptions survive.

    Raises:
        InvalidInput: a value is not plain data; the message names its type.

    >>> decode(encode({"a": [1, Decimal("2.50")]}))
    {'a': [1, Decimal('2.50')]}
    """
    try:
        return msgpack.packb(data, **_packer_options)  # type: ignore[no-any-return]  # msgpack ships no types
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidInput(f"this payload can't be put on the queue: {exc}") from exc


def decode(data: bytes) -> dict[str, Any]:
    """Unpack a payload or result; the ``job_deserializer`` of every queue.

    Raises:
        UnreadablePayload: the bytes are a pickle (never opened), or not msgpack at all.

    >>> import pickle
    >>> decode(pickle.dumps({"f": "x"}))
    Traceback (most recent call last):
        ...
    jobqueue.errors.UnreadablePayload: a pickled payload is refused: enqueue with jobqueue.job.encode as job_serializer
    """
    # Protocols 2 and up of pickle open with PROTO (0x80) and the version; in msgpack 0x80 is an empty map, alone.
    if len(data) > 1 and data[0] == 0x80 and data[1] <= 5:  # noqa: PLR2004  # pickle.HIGHEST_PROTOCOL is 5
        raise UnreadablePayload("a pickled payload is refused: enqueue with jobqueue.job.encode as job_serializer")
    try:
        value = msgpack.unpackb(data, ext_hook=_unpack_extra, strict_map_key=False)
    except Exception as exc:
        raise UnreadablePayload(f"the payload is not msgpack ({exc}): enqueue with jobqueue.job.encode") from exc
    if not isinstance(value, dict):
        raise UnreadablePayload(f"the payload is a {type(value).__name__}, not a job: enqueue with jobqueue.job.encode")
    return value
