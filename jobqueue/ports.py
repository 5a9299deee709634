"""What the rest of the program may expect of the outside world, as Protocols with their semantics.

Adapters live in ``services/`` and ``records/``; every adapter of a port passes the same contract suite
(``tests/contract``). Handlers see the world only through the `Services` bundle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from jobqueue.flows import Flow
from jobqueue.limits import QUEUE, Limit, Rule
from jobqueue.scheduling import Schedule, ScheduleView
from jobqueue.tasks import (
    Analysis,
    ChildrenPage,
    DocumentInfo,
    DocumentText,
    Extraction,
    JobEvent,
    JobView,
    QueueView,
    Summary,
    TaskView,
    Usage,
)

# ── storage ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A stored object: its key, size and SHA-256 (64 hex digits)."""

    key: str
    size_bytes: int
    sha256: str


class BlobStore(Protocol):
    """Objects under ``/``-separated keys (``tenant/kind/id/name``), each at most ``max_bytes`` long.

    A key is made of segments of ``[A-Za-z0-9._-]``; anything else, and ``.`` or ``..``, is refused with
    `InvalidInput`. A missing key raises `NotFound`; an unreachable store raises `Unavailable`.
    """

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Blob:
        """Store a stream under ``key``, replacing what was there.

        Atomic: readers see the old object or the whole new one, and a failed or cancelled put leaves nothing.

        Raises:
            LimitExceeded: the stream is longer than ``max_bytes``.
        """
        ...

    async def put_file(self, key: str, path: Path) -> Blob:
        """Store a local file under ``key``; atomic as `put`."""
        ...

    async def put_bytes(self, key: str, data: bytes) -> Blob:
        """Store ``data`` under ``key``; atomic as `put`."""
        ...

    def stream(self, key: str, *, chunk_bytes: int = 1 << 18) -> AsyncIterator[bytes]:
        """The object's bytes in order."""
        ...

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        """The whole object.

        Raises:
            LimitExceeded: it is longer than ``max_bytes``.
        """
        ...

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a file on this machine, readable while the context is open; never to be written to."""
        ...

    async def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        ...

    async def delete(self, key: str) -> bool:
        """Remove the object; False when there was none."""
        ...

    def keys(self, prefix: str, *, older_than_s: float | None = None) -> AsyncIterator[str]:
        """Every key that starts with ``prefix``, in no promised order; only of objects put longer ago than that."""
        ...

    async def sweep_partial(self, older_than_s: float) -> int:
        """Remove what puts cut off by a crash have left behind, untouched for ``older_than_s``; how many."""
        ...

    async def sweep(self, kind: str, older_than_s: float) -> int:
        """Remove every tenant's objects ``<tenant>/<kind>/<name>`` that were put longer ago; how many."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


# ── what a running job keeps ─────────────────────────────────────────────────────────────────────────────────────


class Checkpoint(Protocol):
    """Where a job's next attempt goes on: after a retry, a worker's death, a shutdown, or a replay.

    Kept for as long as the job lives, and for a week with its dead letter.
    """

    async def load(self) -> Any:
        """What an earlier attempt saved last; None when there is nothing (or nothing that can be read).

        Raises:
            Unavailable: Redis doesn't answer.
        """
        ...

    async def save(self, data: Any) -> None:
        """Keep plain data, 1 MB at most, in the place of what was saved before.

        Raises:
            InvalidInput: not plain data.
            LimitExceeded: too much; put large things into storage and save their key.
            LeaseLost: the job is another worker's now, and nothing was saved: stop.
            Unavailable: Redis doesn't answer, so it may not be saved.
        """
        ...


# ── sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one sandboxed call may use. ``wall_s`` is wall-clock, ``cpu_s`` processor seconds."""

    wall_s: float = 120.0
    cpu_s: int = 120
    memory_bytes: int = 1_500_000_000
    file_bytes: int = 512_000_000


class Sandbox(Protocol):
    """Runs blocking code that touches hostile bytes, in child processes with limits."""

    async def run(self, function: str, /, *args: Any, limits: Limits | None = None, **kwargs: Any) -> Any:
        """Call ``"package.module:function"`` in a child and return its answer.

        Only functions below the allowed packages are called; arguments and answers are plain data
        (what msgpack carries). The child and everything it started is killed when the limit passes or the caller
        is cancelled, and replaced; one call's death never touches another's.

        Raises:
            LimitExceeded: wall clock, CPU, memory or file size; the message says which, and the limit.
            SandboxCrashed: the child died of something else.
            JobqueueError: what the function itself raised, rebuilt by class; any other exception of the
                function comes back as `JobFailed`.
        """
        ...

    async def close(self) -> None:
        """Kill every child."""
        ...


# ── contract models ──────────────────────────────────────────────────────────────────────────────────────────────


class ContractModel(Protocol):
    """One provider of contract analysis: offline rules, OpenAI, Anthropic.

    Every quote in an answer is verbatim: ``document.pages[q.page - 1].text[q.start:q.end] == q.text``.

    Raises (each method):
        ProviderBusy, Unavailable: try again later.
        RefusedRequest: never.
    """

    @property
    def name(self) -> str:
        """Provider and model, as ``offline/rules-1``."""
        ...

    async def extract(self, document: DocumentText) -> tuple[Extraction, Usage]:
        """The facts of the contract."""
        ...

    async def summarise(self, document: DocumentText) -> tuple[Summary, Usage]:
        """A summary of at most 2,500 characters."""
        ...

    async def analyse(self, document: DocumentText) -> tuple[Analysis, Usage]:
        """Clauses present and missing, risks, inconsistencies."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One uploaded file. ``state``: ``received``, ``accepted``, ``rejected``."""

    id: str
    tenant_id: str
    name: str
    blob_key: str
    size_bytes: int
    sha256: str
    state: str
    created_at: datetime
    info: DocumentInfo | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRecord:
    """What is known of one file as a contract. Parts are None until their step has run."""

    id: str
    tenant_id: str
    file_id: str
    created_at: datetime
    text_key: str | None = None
    extraction: Extraction | None = None
    summary: Summary | None = None
    analysis: Analysis | None = None
    usage: Mapping[str, Usage] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)  # format -> blob key


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One task as submitted, and how it ended. ``spec`` is the flow as `jobqueue.flows.Flow.to_data` gives it."""

    id: str
    tenant_id: str
    kind: str
    state: str
    created_at: datetime
    finished_at: datetime | None = None
    file_id: str | None = None
    contract_id: str | None = None
    error: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to which thing; ids only, never personal data. ``actor`` is ``key:<id>`` or ``worker:<queue>``."""

    tenant_id: str
    actor: str
    action: str
    subject: str
    at: datetime
    detail: Mapping[str, str] = field(default_factory=dict)


Role = Literal["member", "operator"]
"""What a key may do: everything within its tenant, or that and what concerns all tenants: the queues' limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRecord:
    """An API key; only the SHA-256 of the 256-bit secret is kept (64 hex digits)."""

    id: str
    tenant_id: str
    name: str
    sha256: str
    created_at: datetime
    revoked_at: datetime | None = None
    role: Role = "member"


class UnitOfWork(Protocol):
    """Reads and writes that land together or not at all. A row of another tenant is as good as missing.

    ``get_*`` raise `NotFound`; ``add_*`` with an id that exists raise `Conflict`.
    """

    async def add_file(self, file: FileRecord) -> None: ...
    async def get_file(self, tenant_id: str, file_id: str) -> FileRecord: ...
    async def save_file(self, file: FileRecord) -> None:
        """Write every column of an existing row."""
        ...

    async def named_blobs(self, file_ids: Sequence[tuple[str, str]]) -> set[str]:
        """The blob keys that the rows of these files (tenant's id, file's id) name, as far as there are such rows."""
        ...

    async def add_contract(self, contract: ContractRecord) -> None: ...
    async def get_contract(self, tenant_id: str, contract_id: str) -> ContractRecord: ...
    async def save_contract_part(self, tenant_id: str, contract_id: str, **parts: Any) -> None:
        """Set some parts of a contract; the other parts stay (three steps write to one contract at a time).

        Parts: ``text_key extraction summary analysis``, or entries of the maps ``usage`` and ``reports``,
        which are merged into what is there.
        """
        ...

    async def add_task(self, task: TaskRecord) -> None: ...
    async def get_task(self, tenant_id: str, task_id: str) -> TaskRecord: ...
    async def list_tasks(self, tenant_id: str, *, limit: int = 50) -> Sequence[TaskRecord]:
        """Newest first."""
        ...

    async def finish_task(self, tenant_id: str, task_id: str, *, state: str, error: str | None, at: datetime) -> None:
        """Record how a task ended; the same end twice is one end, and an unknown task is ignored."""
        ...

    async def reopen_task(self, tenant_id: str, task_id: str) -> None:
        """The task runs again, and has no end until it finishes once more. Raises `NotFound`."""
        ...

    async def unfinished_tasks(self, *, created_before: datetime, limit: int = 500) -> Sequence[TaskRecord]:
        """Tasks of every tenant that were created before then and have no end yet; oldest first."""
        ...

    async def audit(self, entry: AuditEntry) -> None:
        """Append; there is no way to change or remove an entry."""
        ...

    async def audit_trail(self, tenant_id: str, *, limit: int = 100) -> Sequence[AuditEntry]:
        """Newest first."""
        ...

    async def add_api_key(self, key: ApiKeyRecord) -> None: ...
    async def find_api_key(self, sha256: str) -> ApiKeyRecord | None:
        """The unrevoked key with this hash, of whatever tenant."""
        ...

    async def prune(self, *, finished_before: datetime) -> int:
        """Delete task rows that finished before then; how many."""
        ...


class Records(Protocol):
    """The database. An unreachable database raises `Unavailable`."""

    def unit(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        ...

    async def migrate(self) -> None:
        """Bring the schema to this version; safe to call from several processes at once."""
        ...

    async def ping(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


# ── the queue, as the server and the command see it ──────────────────────────────────────────────────────────────

CancelAnswer = Literal["cancelled", "cancelling", "finished"]


class ScheduleBook(Protocol):
    """Schedules that enqueue jobs by the clock. Every verb but `create` raises `NotFound` for a name there isn't."""

    def of(self, tenant_id: str) -> ScheduleBook:
        """Those of one tenant, which sees no others; its jobs get its ``tenant_id`` as an argument."""
        ...

    async def list(self) -> list[ScheduleView]: ...
    async def get(self, name: str) -> ScheduleView: ...

    async def create(self, name: str, schedule: Schedule, *, paused: bool = False) -> ScheduleView:
        """`InvalidInput` when a part is no good, `Conflict` when the name is taken or there are too many."""
        ...

    async def update(self, name: str, schedule: Schedule) -> ScheduleView:
        """Replace it, paused or not as it was; `Conflict` when it is a configured one."""
        ...

    async def pause(self, name: str) -> ScheduleView: ...
    async def resume(self, name: str) -> ScheduleView:
        """Go on with the next tick; those during the pause are not made up for."""
        ...

    async def run_now(self, name: str) -> str:
        """Enqueue its job once more, now; the job's id."""
        ...

    async def delete(self, name: str) -> None:
        """`Conflict` when it is a configured one."""
        ...


class Control(Protocol):
    """An operator's hand on one queue. `InvalidInput` for a scope that can't be, `Conflict` for too many rules."""

    async def rules(self) -> list[Rule]:
        """Every rule, with what it does now."""
        ...

    async def limit(self, scope: str, limit: Limit) -> None:
        """Set a scope's limits in place of those it has; running jobs count for it, none is stopped."""
        ...

    async def unlimit(self, scope: str) -> None:
        """Remove a scope's rule, its pause too; `NotFound` where there is none."""
        ...

    async def pause(self, scope: str = QUEUE) -> None:
        """Start no job of a scope until `resume`; running ones end."""
        ...

    async def resume(self, scope: str = QUEUE) -> None:
        """Go on; `NotFound` where the scope has no rule."""
        ...

    async def hold(self, name: str, *, function: str, where: Mapping[str, Any], reason: str = "") -> None:
        """Start no job of ``function`` ("*": of any) whose keyword arguments are these, until `lift`."""
        ...

    async def lift(self, name: str) -> None:
        """End a hold; `NotFound` where there is none."""
        ...

    async def drain(self, *, timeout_s: float | None = None) -> None:
        """Pause the queue, and return when nothing of it runs; `TimeoutError` when something still does."""
        ...

    async def running(self) -> int:
        """How many jobs run now."""
        ...

    async def waiting(self) -> int:
        """How many jobs `purge` would cancel now."""
        ...

    async def purge(self, *, expected: int) -> int:
        """Cancel every job that doesn't run yet; how many. `InvalidInput` when there are not about so many."""
        ...


class JobQueue(Protocol):
    """Single jobs. `NotFound` for one that never was, or of which nothing is kept; `Unavailable` as `TaskQueue`."""

    async def job(self, job_id: str) -> JobView:
        """A job as it stands, without pieces of its result."""
        ...

    async def wait_job(self, job_id: str, *, after: str | None = None, timeout_s: float = 30.0) -> JobView:
        """The job as soon as there is something new after that ``event_id``, or as it is when the time is over.

        With pieces of its result, fifty at most. A job that has ended is not waited for.

        Raises:
            InvalidInput: ``after`` is none of our ids.
        """
        ...

    def job_events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[JobEvent]:
        """What happens to the job, from now on or after an event's id, until it has ended. Raises as `wait_job`."""
        ...

    async def cancel_job(self, job_id: str) -> CancelAnswer:
        """Cancel one job; the answers mean what they do for a task."""
        ...


class TaskQueue(JobQueue, Protocol):
    """Tasks (flows of jobs under one id) and queues. Unreachable Redis raises `Unavailable`."""

    @property
    def schedules(self) -> ScheduleBook:
        """The schedules of these queues."""
        ...

    async def submit(self, flow: Flow) -> bool:
        """Store the flow and enqueue what is ready; False (and nothing done) when the id is taken.

        Safe to repeat after an error: nothing is enqueued twice.
        """
        ...

    async def view(self, task_id: str) -> TaskView:
        """The live state of a task, as long as Redis keeps it (a week past its end); else `NotFound`."""
        ...

    async def cancel(self, task_id: str) -> CancelAnswer:
        """Cancel every job of the task.

        ``cancelled`` when none was running, ``cancelling`` while running ones are being stopped (within 1 s),
        ``finished`` when there was nothing left to cancel. `NotFound` as `view`.
        """
        ...

    async def replay_flow(self, task_id: str, step: str | None = None, *, failed_only: bool = False) -> None:
        """Do a task that is over again: the whole, or a step with everything that comes after it.

        With ``failed_only`` it begins with what failed or was cancelled, and does only those children of groups again.

        Raises:
            NotFound: as `view`.
            InvalidInput: it has no such step.
            Conflict: it isn't over, or nothing of it failed.
        """
        ...

    async def children(self, task_id: str, step: str, *, offset: int = 0, limit: int = 50) -> ChildrenPage:
        """Some of the children of a task's step, in order; at most 200.

        Raises:
            NotFound: as `view`.
            InvalidInput: it has no such step with children, or there is no such page.
        """
        ...

    def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        """The task's view now and after each change, until it has finished; `NotFound` as `view`."""
        ...

    async def queues(self) -> list[QueueView]:
        """Every configured queue."""
        ...

    def control(self, queue: str) -> Control:
        """The limits of a queue, and what else an operator does to it; `NotFound` when there is no such queue."""
        ...

    async def record_metrics(self, figures: Mapping[str, Any]) -> None:
        """Keep one snapshot of figures (plain data), for two weeks of one a minute."""
        ...

    async def ping(self) -> None:
        """Raise `Unavailable` unless Redis answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a handler gets as ``ctx["services"]``."""

    blobs: BlobStore
    sandbox: Sandbox
    records: Records
    model: ContractModel
    temp_dir: Path
    max_upload_bytes: int = 100_000_000
    max_pages: int = 2_000
    ocr_languages: str = "eng"
    text_engine: str = "pymupdf"
