"""How jobs get onto queues: one script call for one job or thousands, and a wake-up for idle workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from arq.jobs import Job
from arq.utils import timestamp_ms, to_ms, to_unix_ms

from jobqueue.broker.durable import Durability
from jobqueue.broker.keys import QueueKeys, valid_id
from jobqueue.broker.scripts import EnqueueAnswer, EnqueueSpec, Scripts
from jobqueue.errors import InvalidInput
from jobqueue.job import encode, new_id, payload

if TYPE_CHECKING:
    from arq.jobs import Serializer

MAX_GROUP: Final = 1000
MAX_PAYLOAD_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """One job to enqueue in bulk.

    Attributes:
        id: unique among waiting, running and finished jobs; made when not given.
        defer_s: seconds from now until it may start.
        expires_s: seconds from now after which it mustn't start any more; it is then a dead letter.
    """

    function: str
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    defer_s: float = 0.0
    expires_s: float | None = None
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
        **kwargs: Any,
    ) -> Job | None:
        """Enqueue one job: arq's signature and answer, None when a job of that id waits, runs or has a kept result.

        A waiting job never expires unless ``_expires`` says so; it is then buried, not dropped.

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
                expires_ms=None if expires_ms is None else now_ms + expires_ms,
            ),
            at_ms=None if _defer_until is None else to_unix_ms(_defer_until),
            delay_ms=to_ms(_defer_by) or 0,
        )  # fmt: skip
        (answer,) = await self._scripts(queue).enqueue([spec])
        if answer != "enqueued":
            return None
        return Job(spec.id, cast("Any", self), _queue_name=queue, _deserializer=getattr(self, "job_deserializer", None))

    async def enqueue_many(
        self, jobs: Iterable[NewJob], *, queue: str | None = None
    ) -> list[tuple[str, EnqueueAnswer]]:
        """Enqueue any number of jobs, a thousand a round trip; an id and what became of it for each, in order.

        Each group of a thousand lands whole or not at all. Raises as `enqueue_job`; nothing of the group with the bad
        job is enqueued then.
        """
        name = queue or self.default_queue_name
        kind = name.rpartition(":")[2]
        scripts = self._scripts(name)
        answers: list[tuple[str, EnqueueAnswer]] = []
        group: list[EnqueueSpec] = []

        async def send() -> None:
            answers.extend(zip([spec.id for spec in group], await scripts.enqueue(group), strict=True))
            group.clear()

        for job in jobs:
            now_ms = timestamp_ms()
            expires_ms = None if job.expires_s is None else now_ms + int(job.expires_s * 1000)
            data = payload(
                job.function, tuple(job.args), job.kwargs, enqueued_ms=now_ms, expires_ms=expires_ms, meta=job.meta
            )
            group.append(self._spec(job.id or new_id(kind), data, delay_ms=int(job.defer_s * 1000)))
            if len(group) == MAX_GROUP:
                await send()
        if group:
            await send()
        return answers

    def _spec(self, job_id: str, data: dict[str, Any], *, at_ms: int | None = None, delay_ms: int = 0) -> EnqueueSpec:
        if not valid_id(job_id):
            raise InvalidInput(f"job id {job_id!r}: up to 200 printable characters, without white space or braces")
        packed = (self.job_serializer or encode)(data)
        if len(packed) > MAX_PAYLOAD_BYTES:
            raise InvalidInput(
                f"the arguments of {data['f']!r} take {len(packed):,} bytes; at most {MAX_PAYLOAD_BYTES:,} fit: "
                "put large things into storage and pass their key"
            )
        return EnqueueSpec(job_id, packed, at_ms=at_ms, delay_ms=delay_ms)
