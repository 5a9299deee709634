"""Lives of jobs for the crash points: what the process does that is stopped, and how all must end nevertheless."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from arq.cron import CronJob, cron
from arq.utils import to_unix_ms

from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.options import Options, Unique
from jobqueue.broker.scripts import Scripts
from jobqueue.client import Client
from jobqueue.engine.worker import Worker
from jobqueue.errors import NotFound
from jobqueue.flows import Flow, Step
from jobqueue.limits import Limit
from tests.chaos.effects import EffectLog
from tests.chaos.stops import Stop, Stops
from tests.chaos.worker import Spec, workers
from tests.engine_support import INGEST, OCR, client_of, running, wait_until

QUEUES: Final = ("ingest", "ocr")
LEASE_S: Final = 1.0
JOB: Final = "ingest-1"
_WITHIN_S: Final = 20.0
_UNITS: Final = ("month", "day", "hour", "minute", "second", "microsecond")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One run's own database and effect log."""

    url: str
    log: str
    born: datetime
    client: Client

    @property
    def pool(self) -> Any:
        return self.client.pool

    @property
    def tick_at(self) -> datetime:
        """When the cron job of this run is due."""
        return (self.born + timedelta(seconds=2)).replace(microsecond=0)

    @property
    def tick_id(self) -> str:
        return f"tick:{to_unix_ms(self.tick_at)}"

    @asynccontextmanager
    async def workers(self, *, hurry: bool = False, queues: Sequence[str] = QUEUES) -> AsyncIterator[list[Worker]]:
        """Workers of this process, until the block ends."""
        spec = Spec(url=self.url, log=self.log, queues=queues, lease_s=LEASE_S, max_jobs=10)
        log = EffectLog(Path(self.log))
        try:
            async with AsyncExitStack() as stack:
                found = workers(spec, log, hurry=hurry, cron_jobs={"ingest": [self._tick()]})
                for worker in found:
                    await stack.enter_async_context(running(worker))
                yield found
        finally:
            log.close()

    def _tick(self) -> CronJob:
        async def tick(ctx: dict[Any, Any]) -> str:
            return "ticked"

        moment: dict[str, Any] = {unit: getattr(self.tick_at, unit) for unit in _UNITS}
        return cron(tick, name="tick", keep_result=60, max_tries=5, **moment)

    async def recorded(self, *ids: str) -> None:
        """Wait until these have a result."""
        keys = [(OCR if job_id.startswith("ocr") else INGEST).result(job_id) for job_id in ids]

        async def all_there() -> bool:
            return bool(await self.pool.exists(*keys) == len(keys))

        await wait_until(all_there, within_s=_WITHIN_S, what=f"the results of {ids}")

    async def started(self) -> None:
        """Wait until a job has started."""
        path = Path(self.log)
        await wait_until(lambda: b'"start"' in path.read_bytes(), within_s=_WITHIN_S, what="a job's start")


@asynccontextmanager
async def site(url: str, log: str, born: datetime) -> AsyncIterator[Site]:
    """A site, over a client of its own."""
    async with client_of(url) as client:
        yield Site(url=url, log=log, born=born, client=client)


Deed = Callable[[Site], Awaitable[object]]


async def nothing(at: Site) -> None:
    """What most lives need no more of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life.

    Attributes:
        before: done by a process that stays.
        act: done by the process that is stopped.
        again: what the client does whose call has got no answer, once the process is gone.
        ends: job -> how it must have been recorded, once, in the end; ``tick`` stands for the cron job.
        alongside: healthy workers run from the beginning; else they start when the process is gone.
    """

    act: Deed
    before: Deed = nothing
    again: Deed = nothing
    ends: Mapping[str, str]
    alongside: bool = False


# ── deeds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def enqueue(*functions: str, **kwargs: Any) -> Deed:
    async def deed(at: Site) -> None:
        jobs = [NewJob(id=f"ingest-{n}", function=f, kwargs=kwargs) for n, f in enumerate(functions, 1)]
        await at.pool.enqueue_many(jobs)

    return deed


def work_off(*ids: str) -> Deed:
    async def deed(at: Site) -> None:
        async with at.workers():
            await at.recorded(*(at.tick_id if job_id == "tick" else job_id for job_id in ids))

    return deed


async def shut_down(at: Site) -> None:
    async with at.workers(queues=["ingest"]):
        await at.started()


async def cancel_running(at: Site) -> None:
    async with at.workers(queues=["ingest"]):
        await at.started()
        await cancel(at)
        await at.recorded(JOB)


async def cancel(at: Site) -> None:
    await at.client.cancel_job(JOB)


async def orphan_and_cancel(at: Site) -> None:
    """A cancel that reaches a running job whose worker dies before it hears of it."""
    await enqueue("linger")(at)
    await Scripts(at.pool, INGEST).claim(1, lease_ms=1000, worker="dead")
    await cancel(at)


async def bury(at: Site) -> None:
    await enqueue("bad")(at)
    async with at.workers(queues=["ingest"]):
        await at.recorded(JOB)


async def replay(at: Site) -> None:
    letters = at.client.dead_letters("ingest")
    await letters.replay(await letters.get(JOB))


async def discard(at: Site) -> None:
    letters = at.client.dead_letters("ingest")
    await letters.discard(await letters.get(JOB))


def unless_done(deed: Deed) -> Deed:
    """The second try of a client whose first may have got through."""

    async def again(at: Site) -> None:
        with suppress(NotFound):
            await deed(at)

    return again


_LIMITED: Final = ("ingest-1", "ingest-2", "ingest-3")


async def limit(at: Site) -> None:
    control = at.client.control("ingest")
    await control.limit("provider:p", Limit(concurrency=1))
    await control.limit("tenant:*", Limit(concurrency=1))
    await control.limit("queue", Limit(concurrency=2))


async def enqueue_limited(at: Site) -> None:
    jobs = [
        NewJob(
            id=job_id, function="work",
            options=Options(tenant=f"t{n % 2}", priority=n, keys={"provider": "p"}, unique=Unique(key=job_id)),
        )
        for n, job_id in enumerate(_LIMITED)
    ]  # fmt: skip
    await at.pool.enqueue_many(jobs)


async def limit_and_enqueue(at: Site) -> None:
    await limit(at)
    await enqueue_limited(at)


async def pause_and_enqueue(at: Site) -> None:
    await limit_and_enqueue(at)
    await at.client.control("ingest").pause("provider:p")
    claim = await Scripts(at.pool, INGEST).claim(5, lease_ms=1000, worker="none")
    assert not claim.jobs  # every lane is held back now


async def resume(at: Site) -> None:
    await at.client.control("ingest").resume("provider:p")


FLOW_STEPS: Final = ("ingest-1-a", "ocr-1-b", "ingest-1-c", "ocr-1-d")


def _flow(first: str = "work") -> Flow:
    steps = (
        Step(name="a", queue="ingest", function=first),
        Step(name="b", queue="ocr", function="work", needs=("a",)),
        Step(name="c", queue="ingest", function="work", needs=("a",)),
        Step(name="d", queue="ocr", function="work", needs=("b", "c")),
    )
    return Flow(id="task-1", kind="chaos", tenant_id="acme", created_at=datetime.now(UTC), steps=steps)


async def submit(at: Site) -> None:
    await at.client.submit(_flow())


async def submit_bad(at: Site) -> None:
    await at.client.submit(_flow("bad"))


async def cancel_flow(at: Site) -> None:
    await at.client.cancel("task-1")


_ONE: Final = {JOB: "succeeded"}
_FLOW: Final = dict.fromkeys(FLOW_STEPS, "succeeded")
LIVES: Final = {
    "enqueue": Life(act=enqueue("work"), again=enqueue("work"), ends=_ONE),
    "enqueue-many": Life(
        act=enqueue("work", "work", "work"), again=enqueue("work", "work", "work"),
        ends={f"ingest-{n}": "succeeded" for n in (1, 2, 3)},
    ),
    "succeed": Life(before=enqueue("reporting", seconds=0.6), act=work_off(JOB), ends=_ONE),
    "save": Life(before=enqueue("paging"), act=work_off(JOB), ends=_ONE),
    "retry": Life(before=enqueue("shaky"), act=work_off(JOB), ends=_ONE),
    "bury": Life(before=enqueue("bad"), act=work_off(JOB), ends={JOB: "failed"}),
    "return": Life(before=enqueue("linger"), act=shut_down, ends=_ONE),
    "cancel": Life(before=enqueue("linger"), act=cancel, again=cancel, ends={JOB: "cancelled"}),
    "cancel-running": Life(before=enqueue("linger"), act=cancel_running, again=cancel, ends={JOB: "cancelled"}),
    "cancel-orphan": Life(before=orphan_and_cancel, act=work_off(JOB), ends={JOB: "cancelled"}),
    "replay": Life(before=bury, act=replay, again=unless_done(replay), ends=_ONE),
    "replay-run": Life(before=bury, act=replay, again=unless_done(replay), ends=_ONE, alongside=True),
    "discard": Life(before=bury, act=discard, again=unless_done(discard), ends={JOB: "failed"}),
    "limited-enqueue": Life(
        before=limit, act=enqueue_limited, again=enqueue_limited, ends=dict.fromkeys(_LIMITED, "succeeded")
    ),
    "limited": Life(
        before=limit_and_enqueue, act=work_off(*_LIMITED), ends=dict.fromkeys(_LIMITED, "succeeded")
    ),
    "limited-cancel": Life(
        before=limit_and_enqueue, act=cancel, again=unless_done(cancel),
        ends={JOB: "cancelled", "ingest-2": "succeeded", "ingest-3": "succeeded"},
    ),
    "resume": Life(before=pause_and_enqueue, act=resume, again=resume, ends=dict.fromkeys(_LIMITED, "succeeded")),
    "cron": Life(act=work_off("tick"), ends={"tick": "succeeded"}, alongside=True),
    "flow-submit": Life(act=submit, again=submit, ends=_FLOW),
    "flow": Life(before=submit, act=work_off(*FLOW_STEPS), ends=_FLOW),
    "flow-failing": Life(before=submit_bad, act=work_off("ingest-1-a"), ends={"ingest-1-a": "failed"}),
    "flow-cancel": Life(before=submit, act=cancel_flow, again=cancel_flow, ends={"ingest-1-a": "cancelled"}),
}  # fmt: skip


def live(name: str, url: str, log: str, born: datetime, stop: Stop | None) -> list[tuple[str, int]]:
    """Act one life in this process, which ends at ``stop``; the calls it made."""
    logging.disable(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    stops = Stops(stop)
    stops.install()

    async def act() -> None:
        async with site(url, log, born) as at:
            await LIVES[name].act(at)

    asyncio.run(act())
    return stops.seen
