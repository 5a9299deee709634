"""The public verbs for other services: enqueue, look, wait, cancel.

    pool = await create_pool()
    await pool.enqueue_job("ocr_document", tenant_id="acme", file_id=..., contract_id=..., _queue_name="jobqueue:ocr")

Importing this pulls in arq, redis and msgpack, and no handler, database or document library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgpack
from arq.jobs import deserialize_result
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from jobqueue import settings as settings_
from jobqueue.broker.connection import AnyPool, close_pool, open_pool, resolve
from jobqueue.broker.control import QueueControl
from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.broker.durable import Durability, demand
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.events import EventHub
from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.flowverbs import FlowVerbs
from jobqueue.broker.jobwatch import JobVerbs, tenant_of
from jobqueue.broker.keys import METRICS, QueueKeys, queue_name
from jobqueue.broker.look import look_at_job, look_at_queue
from jobqueue.broker.options import Options, Unique
from jobqueue.broker.remedy import answering, look_at, remedy
from jobqueue.broker.schedules import Schedules
from jobqueue.broker.scripts import Enqueued, Scripts
from jobqueue.broker.storedflow import step_entry
from jobqueue.errors import ConfigError, NotFound, Unavailable
from jobqueue.flows import StepState
from jobqueue.handles import Handle, TypedVerbs
from jobqueue.job import State, decode, encode
from jobqueue.limits import Limit, rate
from jobqueue.ports import CancelAnswer
from jobqueue.views import QueueView

__all__ = [
    "Client",
    "DeadLetter",
    "Enqueued",
    "Handle",
    "Limit",
    "NewJob",
    "Options",
    "Unique",
    "connect",
    "create_pool",
    "rate",
]

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


class Client(FlowVerbs, JobVerbs, TypedVerbs):
    """Jobs, tasks and queues of one Redis; implements `jobqueue.ports.TaskQueue`.

    Args:
        pool: as `create_pool` gives.
        queues: short names of all queues, as configured; or the queues by name, which schedules are checked against.
    """

    def __init__(self, pool: AnyPool, queues: Iterable[str]) -> None:
        self.pool = pool
        self._redis: Any = pool
        self._keys = {name: QueueKeys(queue_name(name), cluster=pool.on_cluster) for name in queues}
        self.schedules = Schedules(pool, queues if isinstance(queues, Mapping) else list(self._keys))
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
        with answering():
            await self._redis.ping()

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def cancel_job(self, job_id: str) -> CancelAnswer:
        """Cancel one job. Raises `NotFound` when there is no such job; that leaves nothing behind."""
        with answering():
            answer = await self._cancel(self.keys_of(job_id), job_id)
        if answer == "unknown":
            raise NotFound(f"no job {job_id}")
        return answer  # type: ignore[return-value]  # the fourth answer was just excluded

    async def state(self, job_id: str) -> State:
        """Where a job stands; ``UNKNOWN`` when it never existed or its result has expired."""
        with answering():
            return (await look_at_job(self._redis, self.keys_of(job_id), job_id))[0]

    async def progress(self, job_id: str) -> tuple[int, int, str] | None:
        """The last progress report of a running job: done, total, message."""
        with answering():
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
                with answering():
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
        with answering():
            return list(
                await asyncio.gather(*(look_at_queue(self._redis, name, keys) for name, keys in self._keys.items()))
            )

    async def record_metrics(self, figures: Mapping[str, Any]) -> None:
        """Keep one snapshot of figures (plain data), for two weeks of one a minute."""
        with answering():
            await self._redis.xadd(METRICS, {"figures": encode(dict(figures))}, maxlen=20_160, approximate=True)

    def dead_letters(self, queue: str) -> DeadLetters:
        """The dead letters of a queue, by short name. Raises `NotFound`."""
        if queue not in self._keys:
            raise NotFound(f"no queue {queue!r}; there are {', '.join(self._keys)}")
        return DeadLetters(self._redis, self._keys[queue])

    def control(self, queue: str) -> QueueControl:
        """Limits, pauses, holds, draining and purging of a queue, by short name. Raises `NotFound`."""
        if queue not in self._keys:
            raise NotFound(f"no queue {queue!r}; there are {', '.join(self._keys)}")
        keys = self._keys[queue]
        return QueueControl(self._redis, keys, cancel=lambda job_id: self._cancel(keys, job_id))

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _cancel(self, keys: QueueKeys, job_id: str) -> str:
        raw = await self._redis.get(keys.job(job_id))
        data = decode(raw) if raw else {}
        function, meta = data.get("f", ""), data.get("m") or {}
        outbox = step_entry(meta, StepState.CANCELLED, "") if "flow" in meta else ()
        now = timestamp_ms()
        result = encode(
            {
                "t": 0, "f": function, "a": (), "k": {}, "et": now, "s": False, "r": asyncio.CancelledError(),
                "st": now, "ft": now, "q": keys.name, "id": job_id, "m": {"tenant": tenant_of(data)},
            }
        )  # fmt: skip
        return await Scripts(self._redis, keys).cancel(
            job_id, result=result, keep_ms=CANCELLED_RESULT_MS, count=f"{function}:cancelled", outbox=outbox
        )
