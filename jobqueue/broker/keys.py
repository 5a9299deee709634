"""The Redis data model, written once.

Two layouts. The *plain* one uses arq's own names, so that plain arq clients and workers can share a queue. The
*cluster* one puts every key of a queue under the queue's hash tag, so that each script touches one slot; plain arq
clients can't be used there (arq itself has no Cluster support). ``Q`` is the queue's full name (``jobqueue:ingest``),
``ID`` a job id, ``F`` a flow id. Times are ms since the epoch, by Redis's clock.

============ =================== ====================== ====== ================================================
what         plain               cluster                type   holds
============ =================== ====================== ====== ================================================
queue        Q                   {Q}                    zset   job ids; the score is when to look at it next: due
                                                               time of a waiting job, lease's end of a running one,
                                                               `HELD` for one that waits in a lane
job          arq:job:ID          {Q}:job:ID             string payload (`jobqueue.job.encode`)
in-progress  arq:in-progress:ID  {Q}:in-progress:ID     string the lease: its owner's token, expiring with it; a
                                                               bare "1" when a plain arq worker holds the job
retry        arq:retry:ID        {Q}:retry:ID           string attempts begun
result       arq:result:ID       {Q}:result:ID          string result of a finished job; expires
abort        arq:abort           {Q}:abort              zset   ids of running jobs to cancel -> when it was asked
health-check Q:health-check      {Q}:health-check       string arq's sentinel: some worker has beaten
wake         Q:wake              {Q}:wake               list   tokens of recent enqueues; idle workers block on it
wake end     Q:wake:W            {Q}:wake:W             list   a token that ends the wait of the stopping worker W
durable      Q:durable           {Q}:durable            string "1", written with each durable write: only who has
                                                               written can wait for it (`jobqueue.broker.durable`)
fence        Q:fence             {Q}:fence              string counter; every claim takes the next number
once         Q:once:ID           {Q}:once:ID            string enqueue-once marker, outlives the job by 24 h
progress     Q:progress:ID       {Q}:progress:ID        string msgpack [done, total, message]; expires
error        Q:error:ID          {Q}:error:ID           string msgpack [class, message, first parked] of the last
                                                               attempt of a job that waits for another
checkpoint   Q:checkpoint:ID     {Q}:checkpoint:ID      hash   ``data``: where a new attempt goes on; ``fence`` of the
                                                               claim that saved it; lives as long as the job
buried       Q:buried:ID         {Q}:buried:ID          hash   checkpoint of a dead letter; expires after a week
partial      Q:partial:ID        {Q}:partial:ID         stream p: a piece of the result; ids are fence-number; the
                                                               newest `MAX_PIECES`; expires with the result
cooldown     Q:cooldown          {Q}:cooldown           hash   function -> until when its jobs rest
rules        Q:rules             {Q}:rules              hash   scope -> JSON of its limits; "version" -> their number
traits       Q:traits            {Q}:traits             hash   job id -> lane, priority, unique key
unique       Q:unique:K          {Q}:unique:K           string id of the job that has the unique key K
lanes        Q:lane:L, lanes:T,  {Q}:lane:L, …          …      how jobs with traits wait; the top of ``lua/lanes.lua``
             tenants, turn,                                    tells what each holds
             blocked, blocked:S,
             asleep, using:S,
             bucket:S
counters     Q:counters          {Q}:counters           hash   function:outcome -> count
workers      Q:workers           {Q}:workers            zset   worker id -> its last heartbeat
events       Q:events            {Q}:events             stream e: msgpack list of [kind, id, data]
retries      Q:retries           {Q}:retries            stream one entry a retry
dead         Q:dead              {Q}:dead               stream dead letters
dead index   Q:dead:index        {Q}:dead:index         hash   job id -> id of its entry in ``dead``
outbox       Q:outbox            {Q}:outbox             stream finished flow steps on their way to their flow
flow         arq:flow:F          arq:flow:{F}           hash   ``spec`` (msgpack) and how it stands; its fields are told
                                                               at the top of ``lua/flow_advance.lua``
children     arq:flow:F:children arq:flow:{F}:children  hash   STEP.INDEX -> s, f or c: how that child ended
results      arq:flow:F:results  arq:flow:{F}:results   hash   STEP or STEP.INDEX -> result that a later step reads
items        arq:flow:F:items    arq:flow:{F}:items     hash   STEP.N -> msgpack list, the Nth thousand of its items
metrics      jobqueue:metrics    jobqueue:metrics       stream one snapshot of all queues' figures a minute
lock         jobqueue:lock:{N}   jobqueue:lock:{N}      string token of the lock N's holder, expiring with its lease
lock fence   ….:fence            ….:fence               string counter; every holder of the lock takes the next number
lock wake    ….:wake             ….:wake                list   one token a release; waiters block on it; expires
lock durable ….:durable          ….:durable             string "1", as ``durable`` of a queue
schedules    jobqueue:{schedules} jobqueue:{schedules}   hash   name -> msgpack: what, when, how far it has got
due          ….:due              ….:due                 zset   name -> its next tick; those that are paused are missing
durable      ….:durable          ….:durable             string as a queue's
============ =================== ====================== ====== ================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from arq.constants import (
    abort_jobs_ss,
    health_check_key_suffix,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

NAMESPACE: Final = "jobqueue"
METRICS: Final = f"{NAMESPACE}:metrics"
HELD: Final = 1e15
"""The score of a job that waits in a lane; no time ever comes to it (``lua/lanes.lua``)."""
ONCE_TTL_MS: Final = 24 * 3600 * 1000
FLOW_TTL_MS: Final = 7 * 24 * 3600 * 1000
BURIED_TTL_MS: Final = 7 * 24 * 3600 * 1000
"""How long the checkpoint of a dead letter is kept."""
MAX_PIECES: Final = 1000
"""Pieces of a job's partial result that are kept."""
PIECES_TTL_MS: Final = 7 * 24 * 3600 * 1000
"""How long they are kept after the last one of a job that hasn't ended."""


def queue_name(short: str) -> str:
    """The full name of a configured queue, which is what plain arq clients pass as ``_queue_name``.

    >>> queue_name("ingest")
    'jobqueue:ingest'
    """
    return f"{NAMESPACE}:{short}"


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """Every key of one queue; the only place where ids become keys.

    >>> QueueKeys("jobqueue:ocr").job("ocr-1"), QueueKeys("jobqueue:ocr", cluster=True).job("ocr-1")
    ('arq:job:ocr-1', '{jobqueue:ocr}:job:ocr-1')
    """

    name: str
    cluster: bool = False

    @property
    def queue(self) -> str:
        return f"{{{self.name}}}" if self.cluster else self.name

    @property
    def job_prefix(self) -> str:
        return f"{self.queue}:job:" if self.cluster else job_key_prefix

    @property
    def in_progress_prefix(self) -> str:
        return f"{self.queue}:in-progress:" if self.cluster else in_progress_key_prefix

    @property
    def retry_prefix(self) -> str:
        return f"{self.queue}:retry:" if self.cluster else retry_key_prefix

    @property
    def result_prefix(self) -> str:
        return f"{self.queue}:result:" if self.cluster else result_key_prefix

    @property
    def abort(self) -> str:
        return f"{self.queue}:abort" if self.cluster else abort_jobs_ss

    @property
    def health_check(self) -> str:
        return self.queue + health_check_key_suffix

    def own(self, what: str) -> str:
        """A key of ours that arq doesn't have, such as ``wake`` or ``events``."""
        return f"{self.queue}:{what}"

    def job(self, job_id: str) -> str:
        return self.job_prefix + job_id

    def in_progress(self, job_id: str) -> str:
        return self.in_progress_prefix + job_id

    def retry(self, job_id: str) -> str:
        return self.retry_prefix + job_id

    def result(self, job_id: str) -> str:
        return self.result_prefix + job_id

    def progress(self, job_id: str) -> str:
        return self.own(f"progress:{job_id}")

    def error(self, job_id: str) -> str:
        return self.own(f"error:{job_id}")

    def checkpoint(self, job_id: str) -> str:
        return self.own(f"checkpoint:{job_id}")

    def buried(self, job_id: str) -> str:
        return self.own(f"buried:{job_id}")

    def partial(self, job_id: str) -> str:
        return self.own(f"partial:{job_id}")

    def once(self, job_id: str) -> str:
        return self.own(f"once:{job_id}")


def flow_key(flow_id: str, *, cluster: bool) -> str:
    """Where a flow's record lies.

    >>> flow_key("task-1", cluster=True)
    'arq:flow:{task-1}'
    """
    return f"arq:flow:{{{flow_id}}}" if cluster else f"arq:flow:{flow_id}"


@dataclass(frozen=True, slots=True)
class FlowKeys:
    """The keys of one flow; on a Cluster all in one slot.

    >>> FlowKeys("task-1", cluster=True).children
    'arq:flow:{task-1}:children'
    """

    id: str
    cluster: bool = False

    @property
    def flow(self) -> str:
        return flow_key(self.id, cluster=self.cluster)

    @property
    def children(self) -> str:
        return f"{self.flow}:children"

    @property
    def results(self) -> str:
        return f"{self.flow}:results"

    @property
    def items(self) -> str:
        return f"{self.flow}:items"

    def all(self) -> list[str]:
        """Every one, in the order in which the scripts take them."""
        return [self.flow, self.children, self.results, self.items]


@dataclass(frozen=True, slots=True)
class LockKeys:
    """The keys of one lock (`jobqueue.broker.lock`), in both layouts the same.

    >>> LockKeys("report-7").fence
    'jobqueue:lock:{report-7}:fence'
    """

    name: str

    @property
    def lock(self) -> str:
        return f"{NAMESPACE}:lock:{{{self.name}}}"

    @property
    def fence(self) -> str:
        return f"{self.lock}:fence"

    @property
    def wake(self) -> str:
        return f"{self.lock}:wake"

    @property
    def durable(self) -> str:
        return f"{self.lock}:durable"


@dataclass(frozen=True, slots=True)
class ScheduleKeys:
    """The keys of the schedules (`jobqueue.broker.schedulestore`), in both layouts the same.

    >>> ScheduleKeys().due
    'jobqueue:{schedules}:due'
    """

    @property
    def schedules(self) -> str:
        return f"{NAMESPACE}:{{schedules}}"

    @property
    def due(self) -> str:
        return f"{self.schedules}:due"

    @property
    def durable(self) -> str:
        return f"{self.schedules}:durable"


def valid_id(job_id: str) -> bool:
    """Whether an id can be part of a key, a URL and a shell word.

    arq accepts any string as ``_job_id``; ours must not contain braces (a Cluster hash tag) or white space.
    """
    return 0 < len(job_id) <= 200 and not any(c in "{}" or c.isspace() or not c.isprintable() for c in job_id)  # noqa: PLR2004  # an id, not a text
