"""The public verbs for other services: enqueue, look, wait, cancel.

    pool = await create_pool()
    await pool.enqueue_job("ocr_document", tenant_id="acme", file_id=..., contract_id=..., _queue_name="jobqueue:ocr")

Importing this pulls in arq, redis and msgpack, and no handler, database or document library.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import msgpack
from arq.jobs import deserialize_result
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from jobqueue import settings as settings_
from jobqueue.broker.connection import AnyPool, close_pool, open_pool, resolve
from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.broker.durable import Durability, demand
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.events import EventHub
from jobqueue.broker.flowstore import FlowStore, StoredFlow, step_entry
from jobqueue.broker.keys import METRICS, QueueKeys, queue_name
from jobqueue.broker.look import look_at_job, look_at_queue
from jobqueue.broker.remedy import look_at, remedy
from jobqueue.broker.scripts import Scripts
from jobqueue.errors import ConfigError, JobqueueError, NotFound, Unavailable
from jobqueue.flows import Flow, FlowState, Step, StepState
from jobqueue.job import State, decode, encode
from jobqueue.ports import CancelAnswer
from jobqueue.tasks import QueueView, StepView, TaskView

__all__ = ["Client", "DeadLetter", "NewJob", "connect", "create_pool"]

CANCELLED_RESULT_MS: Final = 24 * 3600 * 1000


async def create_pool(
    url: str | None = None,
    *,
    queue: str = "ingest",
    data_dir: Path | None = None,
    durable: Durability | None = None,
    tls: settings_.TlsFiles | None = None,
) -> AnyPool:
    """A pool to enqueue with: arq's `ArqRedis`, whose enqueues also wake an idle worker.

    Args:
        url: as JOBQUEUE_REDIS_URL, which is read when it isn't given.
        queue: short or full name of the queue that ``enqueue_job`` uses by default.
        data_dir: where the embedded server's address stands; as JOBQUEUE_DATA_DIR.
        durable: when an enqueue counts as done, as JOBQUEUE_DURABLE: ``off``, ``disk`` or ``replica``. One that doesn't
            become durable raises `Unavailable`; it may have been made all the same, so give it an id and repeat it.
        tls: for a ``rediss`` URL; as JOBQUEUE_REDIS_CA_FILE and its siblings.

    Raises:
        ConfigError: the URL, the credentials or the certificates are wrong, or the server can't promise ``durable``.
        Unavailable: no server answers there.
    """
    defaults = settings_.load()
    url, tls = url or defaults.redis_url, tls or defaults.redis_tls
    address = resolve(url, data_dir or defaults.data_dir, tls)
    pool = open_pool(address, queue=queue if ":" in queue else queue_name(queue))
    try:
        await demand(pool, durable or defaults.durable, replicas=defaults.durable_replicas)
        await pool.ping()
    except ConfigError:
        await close_pool(pool)
        raise
    except (RedisError, OSError) as exc:
        await close_pool(pool)
        if (to_do := remedy(exc)) is not None:
            raise ConfigError(f"Redis at {address} can't be used ({exc}): {to_do}") from exc
        raise Unavailable(f"Redis at {address} doesn't answer ({exc}): {look_at(url, tls)}") from exc
    return pool


async def connect(url: str | None = None, *, queues: Sequence[str], data_dir: Path | None = None) -> Client:
    """A `Client` of these queues, by short name; close it after use. Raises as `create_pool`."""
    return Client(await create_pool(url, data_dir=data_dir, queue=queues[0]), queues)


class Client:
    """Jobs, tasks and queues of one Redis; implements `jobqueue.ports.TaskQueue`.

    Args:
        pool: as `create_pool` gives.
        queues: short names of all queues, as configured.
    """

    def __init__(self, pool: AnyPool, queues: Iterable[str]) -> None:
        self.pool = pool
        self._redis: Any = pool
        self._keys = {name: QueueKeys(queue_name(name), cluster=pool.on_cluster) for name in queues}
        self._flows = FlowStore(pool, cluster=pool.on_cluster)
        self._events = EventHub(pool, self._keys.values())

    async def close(self) -> None:
        """Release the connections."""
        await self._events.close()
        await close_pool(self.pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def ping(self) -> None:
        """Raise `Unavailable` unless Redis answers."""
        with _answering():
            await self._redis.ping()

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def submit(self, flow: Flow) -> bool:
        """Store a flow and enqueue what is ready; False when the id is taken. Safe to repeat after an error."""
        with _answering():
            created = await self._flows.create(flow)
            stored = await self._flows.read(flow.id)
            if stored is not None:
                await self._flows.enqueue_ready(stored)  # also when it was there: a repeat completes what an error cut
            return created

    async def view(self, task_id: str) -> TaskView:
        """The live state of a task. Raises `NotFound` when Redis doesn't know it (any more)."""
        with _answering():
            stored = await self._flows.read(task_id)
            if stored is None:
                raise NotFound(f"no task {task_id}")
            steps = await self._steps(stored)
        return _task_view(stored, steps)

    async def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        """The task now and after each change, until it has finished. Raises `NotFound` as `view`."""
        view = await self.view(task_id)
        jobs = [step.job_id for step in view.steps]
        async with self._events.watch([task_id, *jobs]) as watch:
            shown = None
            while True:
                watch.changed.clear()
                view = await self.view(task_id)
                if view != shown:
                    yield view
                    shown = view
                if view.state not in {"running", "queued"}:
                    return
                await watch.wait()

    async def cancel(self, task_id: str) -> CancelAnswer:
        """Cancel every job of a task; waiting ones at once, running ones within a second. Raises `NotFound`."""
        with _answering():
            stored = await self._flows.read(task_id)
            if stored is None:
                raise NotFound(f"no task {task_id}")
            if _is_over(stored, [view for view, _ in await self._steps(stored)]):
                return "finished"
            # First the flow, so that a step which ends meanwhile starts no further one; then the jobs there are.
            await self._flows.cancel(task_id)
            jobs = [(self._keys[step.queue], stored.flow.job_id(step)) for step in stored.flow.steps]
            answers = [await self._cancel(keys, job_id) for keys, job_id in jobs]
            if "cancelling" in answers:
                return "cancelling"
            await self._flows.end(task_id)
            return "cancelled"

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def cancel_job(self, job_id: str) -> CancelAnswer:
        """Cancel one job. Raises `NotFound` when there is no such job; that leaves nothing behind."""
        with _answering():
            answer = await self._cancel(self.keys_of(job_id), job_id)
        if answer == "unknown":
            raise NotFound(f"no job {job_id}")
        return answer  # type: ignore[return-value]  # the fourth answer was just excluded

    async def state(self, job_id: str) -> State:
        """Where a job stands; ``UNKNOWN`` when it never existed or its result has expired."""
        with _answering():
            return (await look_at_job(self._redis, self.keys_of(job_id), job_id))[0]

    async def progress(self, job_id: str) -> tuple[int, int, str] | None:
        """The last progress report of a running job: done, total, message."""
        with _answering():
            raw = await self._redis.get(self.keys_of(job_id).progress(job_id))
        return tuple(msgpack.unpackb(raw)) if raw else None

    async def result(self, job_id: str, *, timeout_s: float | None = None) -> Any:
        """Wait for a job and return its result, or raise its error.

        Raises:
            NotFound: no such job, or its result isn't kept.
            TimeoutError: it didn't finish in time.
            JobFailed: it failed with an error of a class this process doesn't rebuild; or the rebuilt error itself.
        """
        keys = self.keys_of(job_id)
        async with asyncio.timeout(timeout_s), self._events.watch([job_id]) as watch:
            while True:
                watch.changed.clear()
                with _answering():
                    raw = await self._redis.get(keys.result(job_id))
                    waits = raw is None and await self._redis.exists(keys.job(job_id))
                    if raw is None and not waits:
                        raw = await self._redis.get(keys.result(job_id))  # it finished between the two looks
                if raw is not None:
                    found = deserialize_result(raw, deserializer=decode)
                    if found.success:
                        return found.result
                    raise found.result
                if not waits:
                    raise NotFound(f"no job {job_id}, or its result isn't kept")
                await watch.wait()

    def keys_of(self, job_id: str) -> QueueKeys:
        """The keys of the queue whose name leads a job's id. Raises `NotFound` for an id of no configured queue."""
        name = job_id.partition("-")[0]
        if name not in self._keys:
            raise NotFound(f"job {job_id}: its id names none of the queues {', '.join(self._keys)}")
        return self._keys[name]

    # ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def queues(self) -> list[QueueView]:
        """Every configured queue."""
        with _answering():
            return list(
                await asyncio.gather(*(look_at_queue(self._redis, name, keys) for name, keys in self._keys.items()))
            )

    async def record_metrics(self, figures: Mapping[str, Any]) -> None:
        """Keep one snapshot of figures (plain data), for two weeks of one a minute."""
        with _answering():
            await self._redis.xadd(METRICS, {"figures": encode(dict(figures))}, maxlen=20_160, approximate=True)

    def dead_letters(self, queue: str) -> DeadLetters:
        """The dead letters of a queue, by short name. Raises `NotFound`."""
        if queue not in self._keys:
            raise NotFound(f"no queue {queue!r}; there are {', '.join(self._keys)}")
        return DeadLetters(self._redis, self._keys[queue])

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _steps(self, stored: StoredFlow) -> list[tuple[StepView, Any]]:
        return await asyncio.gather(*(self._step(stored, step) for step in stored.flow.steps))

    async def _step(self, stored: StoredFlow, step: Step) -> tuple[StepView, Any]:
        job_id = stored.flow.job_id(step)
        state, facts = await look_at_job(self._redis, self._keys[step.queue], job_id)
        result = facts.pop("result", None)
        ended = stored.states.get(step.name)
        replayed = ended is not StepState.SUCCEEDED and state in _LIVE
        shown = ended.value if ended and not replayed else "waiting" if state is State.UNKNOWN else state.value
        view = StepView(name=step.name, job_id=job_id, queue=step.queue, function=step.function, state=shown, **facts)
        return view, result

    async def _cancel(self, keys: QueueKeys, job_id: str) -> str:
        raw = await self._redis.get(keys.job(job_id))
        data = decode(raw) if raw else {}
        function, meta = data.get("f", ""), data.get("m") or {}
        outbox = step_entry(meta, StepState.CANCELLED, "") if "flow" in meta else ()
        now = timestamp_ms()
        result = encode(
            {
                "t": 0, "f": function, "a": (), "k": {}, "et": now, "s": False, "r": asyncio.CancelledError(),
                "st": now, "ft": now, "q": keys.name, "id": job_id,
            }
        )  # fmt: skip
        return await Scripts(self._redis, keys).cancel(
            job_id, result=result, keep_ms=CANCELLED_RESULT_MS, count=f"{function}:cancelled", outbox=outbox
        )


_LIVE: Final = frozenset({State.QUEUED, State.DEFERRED, State.RUNNING, State.RETRYING})


def _is_over(stored: StoredFlow, steps: Sequence[StepView]) -> bool:
    """Whether nothing of the task will run any more."""
    live = {step.name for step in steps if step.state in _LIVE}
    match stored.state:
        case FlowState.RUNNING:
            return False
        case FlowState.FAILED:  # unless what failed is being replayed
            return not any(stored.states.get(name) is StepState.FAILED for name in live)
        case FlowState.CANCELLED:  # unless a job hasn't heeded it yet
            return not live
        case FlowState.SUCCEEDED:
            return True


def _task_view(stored: StoredFlow, looked: Sequence[tuple[StepView, Any]]) -> TaskView:
    steps = [view for view, _ in looked]
    over = _is_over(stored, steps)
    state = stored.state.value if over else "running"
    if not over and all(step.state in {"waiting", "queued", "deferred"} for step in steps):
        state = "queued"
    results = {view.name: result for view, result in looked if result is not None}
    return TaskView(
        id=stored.flow.id,
        kind=stored.flow.kind,
        tenant_id=stored.flow.tenant_id,
        state=state,
        progress=round(sum(_part(step) for step in steps) / len(steps), 3),
        steps=steps,
        created_at=stored.flow.created_at,
        finished_at=datetime.fromtimestamp(stored.ended_ms / 1000, UTC) if over and stored.ended_ms else None,
        error=stored.error if over else None,
        result=results or None,
    )


def _part(step: StepView) -> float:
    if step.state == "succeeded":
        return 1.0
    return min(step.done / step.total, 1.0) if step.total and step.state == "running" else 0.0


class _answering:  # noqa: N801  # reads as a phrase: with _answering()
    """Turn redis-py's errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: object) -> None:
        if isinstance(exc, RedisError | ConnectionError) and not isinstance(exc, JobqueueError):
            to_do = remedy(exc) or "see JOBQUEUE_REDIS_URL"
            raise Unavailable(f"Redis doesn't answer as it should ({exc}): {to_do}") from exc
