"""A job's life, from its claim to its record, as one straight function.

claimed → read → (refused early?) → run → outcome → recorded. `live` is that line; everything else here is one of its
steps. Where a step needs a decision, it is made by a pure function elsewhere (`jobqueue.retry`).
"""

from __future__ import annotations

import asyncio
import pickle
from typing import Any, Final, cast

from arq.constants import keep_cronjob_progress
from arq.cron import CronJob
from arq.jobs import DeserializationError, serialize_result
from arq.utils import ms_to_datetime, timestamp_ms
from arq.worker import JobExecutionFailed, RetryJob
from arq.worker import Retry as ArqRetry

from jobqueue import retry
from jobqueue.broker.flowreader import FlowReader
from jobqueue.engine.features import Features
from jobqueue.engine.flowcontext import FlowContext, check_meta, passed_on
from jobqueue.engine.host import Host
from jobqueue.engine.outcomes import (
    Buried,
    Cancelled,
    Held,
    Lost,
    Outcome,
    Retrying,
    Returned,
    Succeeded,
    bare,
    record_of,
)
from jobqueue.engine.parking import park
from jobqueue.engine.progress import Progress
from jobqueue.engine.saves import Saves
from jobqueue.errors import Expired, InvalidInput, LimitExceeded, Permanent, UnknownFunction
from jobqueue.job import encode

MAX_RESULT_BYTES: Final = 2_000_000
"""Of a result as it is stored, the job's arguments (1 MB at most) included."""
_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999, which is as far as a datetime goes


async def live(worker: Host, held: Held) -> None:
    """Run one claimed job to its record. Raises only what a hook of the user's raised."""
    outcome = read(worker, held)
    ran = outcome is None
    if isinstance(outcome, Returned) and outcome.parked_ms is not None:
        outcome = await park(worker.pool, worker.keys, held, cast("Features", worker.features))
    if outcome is None:
        ctx = context(worker, held)
        if worker.on_job_start:
            await worker.on_job_start(ctx)
        outcome = await run(worker, held, ctx)
    held.finished_ms = timestamp_ms()
    outcome, result = storable(worker, held, outcome)
    worker.log.ended(held, outcome)
    worker.count(outcome)
    if ran and worker.on_job_end:
        await worker.on_job_end(ctx)
    await settle(worker, held, outcome, result)
    if ran and worker.after_job_end:
        await worker.after_job_end(ctx)


def read(worker: Host, held: Held) -> Outcome | None:
    """Read the payload; an outcome when the job can't or needn't be run."""
    if held.payload is None:
        return Buried(_named(worker, "job expired", Expired), "expired")
    try:
        data = (worker.job_deserializer or pickle.loads)(held.payload)  # arq's default; our Settings always give one
        enqueued_try = _fill(held, data)
    except Permanent as exc:  # the codec's own words
        return Buried(exc, "unreadable")
    except Exception as exc:  # noqa: BLE001  # a deserialiser may raise anything on foreign bytes
        unreadable = DeserializationError("unable to deserialize job")
        unreadable.__cause__ = exc
        return Buried(unreadable, "unreadable")
    if held.aborted:
        return Cancelled(asyncio.CancelledError())
    if held.expires_ms and timestamp_ms() > held.expires_ms:
        return Buried(Expired(f"the job was to start before {ms_to_datetime(held.expires_ms)}"), "expired")
    if worker.rules.number and (lane := worker.rules.lane_for(held.function, held.kwargs, held.meta, held.lane)):
        return Returned("held back", lane=lane)
    function = worker.functions.get(held.function)
    if function is None or (worker.features and held.version > worker.features.versions.get(held.function, _LATEST_MS)):
        return _unknown(worker, held)
    held.tick = isinstance(function, CronJob)
    if enqueued_try and enqueued_try > held.attempt:
        held.attempt = enqueued_try
    if held.attempt > worker.max_attempts(function):
        error = JobExecutionFailed(f"max {worker.max_attempts(function)} retries exceeded")
        return Buried(error, "exhausted")
    rest_s = worker.cooldowns.left_s(held.function) if worker.cooldowns else 0.0
    return Returned("cooldown", delay_s=rest_s) if rest_s > 0 else None


def _fill(held: Held, data: dict[str, Any]) -> int:
    """Take over a payload's fields; the attempt it asks for, 0 for none.

    Raises TypeError, KeyError or ValueError where one isn't what it should be: whoever can write to Redis can write
    anything.
    """
    function, enqueued_ms, enqueued_try = data["f"], data["et"], data["t"] or 0
    meta, expires_ms = data.get("m") or {}, data.get("x") or 0
    if not (type(function) is str and type(meta) is dict):
        raise TypeError("the function or the metadata is of another type than a job's")
    for number in (enqueued_ms, expires_ms, enqueued_try, meta.get("v", 1)):
        if type(number) is not int or not 0 <= number <= _LATEST_MS:
            raise ValueError(f"{number!r} is no time, no attempt and no version")
    check_meta(meta)
    held.function, held.args, held.kwargs = function, tuple(data["a"]), dict(data["k"])
    held.enqueued_ms, held.meta, held.expires_ms = enqueued_ms, meta, expires_ms
    return enqueued_try


def context(worker: Host, held: Held) -> dict[Any, Any]:
    """Arq's ``ctx`` for a function, and what the engine adds to it."""
    ctx: dict[Any, Any] = {
        **worker.ctx,
        "job_id": held.id,
        "job_try": held.attempt,
        "enqueue_time": ms_to_datetime(held.enqueued_ms),
        "score": held.score,
    }
    if worker.features is not None:
        ctx["fence"] = held.fence
        ctx["meta"] = held.meta
        ctx["progress"] = Progress(worker.pool, worker.keys, held.id)
        if "flow" in held.meta:
            ctx["flow"] = FlowContext(FlowReader(worker.pool, cluster=worker.keys.cluster), held.meta)
        ctx["checkpoint"] = saves = Saves(worker, held)
        ctx["partial"] = saves.append
    return ctx


async def run(worker: Host, held: Held, ctx: dict[Any, Any]) -> Outcome:
    """Run the function under its timeout; every way that can end is an outcome."""
    function = worker.functions[held.function]
    timeout_s = worker.job_timeout_s if function.timeout_s is None else function.timeout_s
    held.started_ms = timestamp_ms()
    try:
        worker.log.started(held)
        async with asyncio.timeout(timeout_s):
            value = await function.coroutine(ctx, *held.args, **held.kwargs)
    except asyncio.CancelledError as exc:
        return _stopped(worker, held, exc)
    except (Exception, SystemExit) as exc:  # noqa: BLE001  # whatever a job raises is its outcome, not its worker's
        return failed(worker, held, exc)
    if worker.cooldowns:
        worker.cooldowns.succeeded(held.function)
    return Succeeded(value)


def failed(worker: Host, held: Held, error: BaseException) -> Outcome:
    """What follows from an exception."""
    if worker.features is not None and held.stop is not None:  # told to stop, a function may raise what it likes
        return Lost() if held.stop == "lost" else Cancelled(asyncio.CancelledError())
    if worker.retry_jobs and isinstance(error, RetryJob):
        return Retrying(0.0)
    if worker.retry_jobs and isinstance(error, ArqRetry):
        limit = worker.max_attempts(worker.functions[held.function])
        if worker.features is not None and held.attempt >= limit:
            return Buried(error, "exhausted")
        return Retrying((error.defer_score or 0) / 1000, error)
    if worker.features is None or not worker.retry_jobs:
        return Buried(error, "failed")
    error_ = retry.classify(error)
    if worker.cooldowns:
        worker.cooldowns.failed(held.function, error_)
    policy = worker.features.policy(held.function)
    match retry.decide(error_, held.attempt, policy, worker.features.random()):
        case retry.Retry(delay_s):
            return Retrying(delay_s, error_)
        case retry.Bury(reason):
            return Buried(error_, reason)


def _stopped(worker: Host, held: Held, exc: asyncio.CancelledError) -> Outcome:
    """Cancelled by request, by a lost lease, by a shutdown, or by the function itself."""
    if held.stop == "lost":
        return Lost()
    if held.stop == "abort":
        return Cancelled(exc)
    if worker.features is not None and worker.stopping:
        return Returned("shutdown")
    return Retrying(0.0) if worker.retry_jobs else Cancelled(exc)


def _unknown(worker: Host, held: Held) -> Outcome:
    error = _named(worker, f"function {held.function!r} not found", UnknownFunction)
    return Buried(error, "unknown") if worker.features is None else Returned("unknown", parked_ms=0)


def _named(worker: Host, message: str, ours: type[Permanent]) -> Exception:
    """Arq's error where arq's behaviour is asked for, ours where there is a tree to tell them apart."""
    return JobExecutionFailed(message) if worker.features is None else ours(message)


def storable(worker: Host, held: Held, outcome: Outcome) -> tuple[Outcome, bytes | None]:
    """The outcome with the bytes that Redis keeps of it; a result that can't be kept is a failure, and says so."""
    match outcome:
        case Succeeded(value):
            success = True
            try:
                held.passed_on = passed_on(held.meta, value)
            except Permanent as exc:
                outcome, value, success = Buried(exc, "permanent"), exc, False
        case Buried(error) | Cancelled(error):
            value, success = error, False
        case _:
            return outcome, None
    if worker.keep_result_ms(held.function) is None:
        return outcome, None
    result = _serialize(worker, held, value, success=success)
    if worker.features is None or not success:
        return outcome, result
    if result is None:
        problem: Permanent = InvalidInput(
            f"the job's result, a {type(value).__qualname__}, isn't plain data throughout"
        )
    elif len(result) > MAX_RESULT_BYTES:
        problem = LimitExceeded(
            f"the job's result takes {len(result):,} bytes; at most {MAX_RESULT_BYTES:,} are kept: "
            "put large things into storage and return their key"
        )
    else:
        return outcome, result
    return Buried(problem, "permanent"), _serialize(worker, held, problem, success=False)


async def settle(worker: Host, held: Held, outcome: Outcome, result: bytes | None) -> None:
    """Free the slot, then commit the outcome with those of other jobs."""
    worker.free_slot(held)
    if isinstance(outcome, Lost):
        return
    ttl_ms = worker.keep_result_ms(held.function) or 0
    op = record_of(held, outcome, queue=worker.queue_name, result=result, ttl_ms=ttl_ms)
    if worker.features is None:
        op = bare(op)
        if held.started_ms and held.tick:
            op["keep"] = keep_cronjob_progress * 1000  # arq's guard against a second run of the same tick
    held.recording = True
    if not await worker.recorder.record(op):
        worker.log.ended(held, Lost())
    elif "outbox" in op and worker.relay:
        worker.relay.kick()


def _serialize(worker: Host, held: Held, value: Any, *, success: bool) -> bytes | None:
    """The result as arq stores it; None where ``value`` can't be encoded."""
    started_ms = held.started_ms or held.finished_ms
    if worker.features is None:  # arq's own function logs, and replaces, what it can't encode
        return serialize_result(
            held.function, held.args, held.kwargs, held.attempt, held.enqueued_ms, success, value, started_ms,
            held.finished_ms, held.ref, worker.queue_name, job_id=held.id, serializer=worker.job_serializer,
        )  # fmt: skip
    data = {
        "t": held.attempt, "f": held.function, "a": held.args, "k": held.kwargs, "et": held.enqueued_ms, "s": success,
        "r": value, "st": started_ms, "ft": held.finished_ms, "q": worker.queue_name, "id": held.id,
    }  # fmt: skip
    if "tenant" in held.meta:  # who may see it, where the arguments don't tell
        data["m"] = {"tenant": held.meta["tenant"]}
    try:
        return (worker.job_serializer or encode)(data)
    except Exception:  # noqa: BLE001  # a serialiser may raise anything
        return None
