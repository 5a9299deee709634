"""How jobs get onto queues: one script call for one job or thousands, and a wake-up for idle workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from arq.jobs import Job, SerializationError
from arq.utils import timestamp_ms, to_ms, to_unix_ms

from jobqueue.broker.durable import Durability
from jobqueue.broker.keys import QueueKeys, queue_name, valid_id
from jobqueue.broker.options import Options, Unique, lane_of
from jobqueue.broker.scripts import Enqueued, EnqueueSpec, Scripts
from jobqueue.errors import InvalidInput
from jobqueue.job import encode, new_id, payload

if TYPE_CHECKING:
    from arq.jobs import Serializer

MAX_GROUP: Final = 1000
MAX_PAYLOAD_BYTES: Final = 1_000_000
_PLAIN: Final = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """One job to enqueue.

    Attributes:
        id: unique among waiting, running and finished jobs; made when not given.
        defer_s: seconds from now until it may start.
        expires_s: seconds from now after which it mustn't start any more; it is then a dead letter.
        options: how it waits: tenant, priority, keys, uniqueness.
    """

    function: str
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    defer_s: float = 0.0
    expires_s: float | None = None
    options: Options = _PLAIN
    meta: dict[str, Any] = field(default_factory=dict)


class EnqueueVerbs:
    """The enqueueing side of a pool; mixed into the client of one server and that of a Cluster."""

    on_cluster: bool
    durable: Durability = "off"
    """When an enqueue counts as done; set by `jobqueue.broker.durable.demand`."""
    durable_replicas: int = 1
    default_queue_name: str
    job_serializer: Serializer | None

    def _scripts(self, queue: str) -> Scripts:
        return Scripts(cast("Any", self), QueueKeys(queue, cluster=self.on_cluster))

    async def enqueue_job(
        self,
        function: str,
        *args: Any,
        _job_id: str | None = None,
        _queue_name: str | None = None,
        _defer_until: datetime | None = None,
        _defer_by: float | timedelta | None = None,
        _expires: float | timedelta | None = None,
        _job_try: int | None = None,
        _options: Options = _PLAIN,
        **kwargs: Any,
    ) -> Job | None:
        """Enqueue one job: arq's signature and answer, None when a job of that id waits, runs or has a kept result.

        A waiting job never expires unless ``_expires`` says so; it is then buried, not dropped. ``_options`` is how it
        waits; `enqueue` also tells which job stood in the way.

        Raises:
            InvalidInput: the id is unusable, the arguments can't be encoded or are larger than 1 MB.
        """
        if _defer_until and _defer_by:
            raise InvalidInput("use either _defer_until or _defer_by, not both")
        queue = _queue_name or self.default_queue_name
        now_ms = timestamp_ms()
        expires_ms = to_ms(_expires)
        spec = self._spec(
            _job_id or new_id(queue.rpartition(":")[2]),
            payload(
                function, args, kwargs, enqueued_ms=now_ms, attempt=_job_try,
                expires_ms=None if expires_ms is None else now_ms + expires_ms, meta=_options.meta(),
            ),
            at_ms=None if _defer_until is None else to_unix_ms(_defer_until),
            delay_ms=to_ms(_defer_by) or 0,
            unique=_options.unique,
        )  # fmt: skip
        (enqueued,) = await self._scripts(queue).enqueue([spec])
        if enqueued.in_the_way is not None:
            return None
        return Job(
            enqueued.id, cast("Any", self), _queue_name=queue, _deserializer=getattr(self, "job_deserializer", None)
        )

    async def enqueue(self, job: NewJob, *, queue: str | None = None) -> Enqueued:
        """Enqueue one job on a queue, by its short or full name; what became of it. Raises as `enqueue_job`."""
        (enqueued,) = await self.enqueue_many([job], queue=queue)
        return enqueued

    async def enqueue_many(self, jobs: Iterable[NewJob], *, queue: str | None = None) -> list[Enqueued]:
        """Enqueue any number of jobs, a thousand a round trip; what became of each, in order.

        Each group of a thousand lands whole or not at all. Raises as `enqueue_job`; nothing of the group with the bad
        job is enqueued then.
        """
        name = queue or self.default_queue_name
        if queue and ":" not in queue:
            name = queue_name(queue)
        kind = name.rpartition(":")[2]
        scripts = self._scripts(name)
        answers: list[Enqueued] = []
        group: list[EnqueueSpec] = []

        async def send() -> None:
            answers.extend(await scripts.enqueue(group))
            group.clear()

        for job in jobs:
            now_ms = timestamp_ms()
            expires_ms = None if job.expires_s is None else now_ms + int(job.expires_s * 1000)
            meta = job.meta if job.options is _PLAIN else job.meta | job.options.meta()
            data = payload(
                job.function, tuple(job.args), job.kwargs, enqueued_ms=now_ms, expires_ms=expires_ms, meta=meta
            )
            delay_ms = int(job.defer_s * 1000)
            group.append(self._spec(job.id or new_id(kind), data, delay_ms=delay_ms, unique=job.options.unique))
            if len(group) == MAX_GROUP:
                await send()
        if group:
            await send()
        return answers

    def _spec(
        self,
        job_id: str,
        data: dict[str, Any],
        *,
        at_ms: int | None = None,
        delay_ms: int = 0,
        unique: Unique | None = None,
    ) -> EnqueueSpec:
        if not valid_id(job_id):
            raise InvalidInput(f"job id {job_id!r}: up to 200 printable characters, without white space or braces")
        try:
            packed = (self.job_serializer or encode)(data)
        except InvalidInput:
            raise  # our own codec, which says what is wrong
        except Exception as exc:  # somebody's own serialiser: told as arq tells it
            raise SerializationError(f"unable to serialize job {data['f']!r}") from exc
        if len(packed) > MAX_PAYLOAD_BYTES:
            raise InvalidInput(
                f"the arguments of {data['f']!r} take {len(packed):,} bytes; at most {MAX_PAYLOAD_BYTES:,} fit: "
                "put large things into storage and pass their key"
            )
        lane = lane_of(data["f"], data.get("m") or {})
        return EnqueueSpec(job_id, packed, at_ms=at_ms, delay_ms=delay_ms, lane=lane, unique=unique)
