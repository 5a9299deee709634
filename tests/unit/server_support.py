"""The ports in memory, with the semantics their docstrings promise, and a client on the real application.

`down` on each makes it as unreachable as a stopped service.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import BaseRunner

from jobqueue.errors import Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from jobqueue.flows import Flow
from jobqueue.job import State, new_id
from jobqueue.ports import (
    ApiKeyRecord,
    AuditEntry,
    Blob,
    CancelAnswer,
    ContractRecord,
    Control,
    FileRecord,
    Seal,
    TaskRecord,
)
from jobqueue.server.app import ServerLimits, build_app
from jobqueue.server.auth import Access, mint_api_key
from jobqueue.server.tasks import FINISHED
from jobqueue.views import ChildrenPage, ChildView, JobEvent, JobView, QueueView, StepView, TaskView

_KEY = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")


class MemoryBlobs:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False

    def _check(self, key: str) -> None:
        if self.down:
            raise Unavailable("storage can't be reached")
        if not _KEY.fullmatch(key):
            raise InvalidInput(f"malformed key {key!r}")

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Blob:
        self._check(key)
        data = bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > max_bytes:
                raise LimitExceeded(f"longer than {max_bytes} bytes")
        return await self.put_bytes(key, bytes(data))

    async def put_file(self, key: str, path: Path) -> Blob:
        return await self.put_bytes(key, path.read_bytes())  # noqa: ASYNC240  # a test's small file

    async def put_bytes(self, key: str, data: bytes) -> Blob:
        self._check(key)
        self.objects[key] = data
        return Blob(key=key, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 18) -> AsyncIterator[bytes]:
        data = await self.read(key, max_bytes=1 << 30)
        for start in range(0, len(data), chunk_bytes):
            yield data[start : start + chunk_bytes]

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        self._check(key)
        if key not in self.objects:
            raise NotFound(f"there is no object {key}")
        if len(self.objects[key]) > max_bytes:
            raise LimitExceeded(f"longer than {max_bytes} bytes")
        return self.objects[key]

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        with TemporaryDirectory() as directory:
            path = Path(directory) / "object"
            path.write_bytes(await self.read(key, max_bytes=1 << 30))
            yield path

    async def exists(self, key: str) -> bool:
        self._check(key)
        return key in self.objects

    async def delete(self, key: str) -> bool:
        self._check(key)
        return self.objects.pop(key, None) is not None

    async def keys(self, prefix: str, *, older_than_s: float | None = None) -> AsyncIterator[str]:
        for key in list(self.objects):
            if key.startswith(prefix) and (older_than_s is None or older_than_s < 0):  # all of them are new
                yield key

    async def sweep_partial(self, older_than_s: float) -> int:
        self._check("any")
        return 0  # a put here leaves nothing behind

    async def sweep(self, kind: str, older_than_s: float) -> int:
        self._check("any")
        return 0  # nothing here grows old

    async def close(self) -> None:
        self.down = True


class CountingBlobs(MemoryBlobs):
    """Swallows what is put and keeps its length alone: whatever memory grows by then is the server's."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Blob:
        size, digest = 0, hashlib.sha256()
        async for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            if size > max_bytes:
                raise LimitExceeded(f"longer than {max_bytes} bytes")
        return Blob(key=key, size_bytes=size, sha256=digest.hexdigest())


@dataclass
class MemoryUnit:
    files: dict[str, FileRecord] = field(default_factory=dict)
    contracts: dict[str, ContractRecord] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    keys: dict[str, ApiKeyRecord] = field(default_factory=dict)
    entries: list[AuditEntry] = field(default_factory=list)

    def copy(self) -> MemoryUnit:
        return MemoryUnit(
            files=dict(self.files),
            contracts=dict(self.contracts),
            tasks=dict(self.tasks),
            keys=dict(self.keys),
            entries=list(self.entries),
        )

    @staticmethod
    def _add(table: dict[str, Any], row: Any) -> None:
        if row.id in table:
            raise Conflict(f"{row.id} exists already")
        table[row.id] = row

    @staticmethod
    def _get(table: dict[str, Any], tenant_id: str, row_id: str) -> Any:
        row = table.get(row_id)
        if row is None or row.tenant_id != tenant_id:
            raise NotFound(f"there is no {row_id}")
        return row

    async def add_file(self, file: FileRecord) -> None:
        self._add(self.files, file)

    async def get_file(self, tenant_id: str, file_id: str) -> FileRecord:
        row: FileRecord = self._get(self.files, tenant_id, file_id)
        return row

    async def find_files(self, tenant_id: str, sha256: str, *, state: str) -> Sequence[FileRecord]:
        wanted = (tenant_id, sha256, state)
        return [row for row in self.files.values() if (row.tenant_id, row.sha256, row.state) == wanted]

    async def find_accepted_twin(self, file: FileRecord) -> FileRecord | None:
        same = await self.find_files(file.tenant_id, file.sha256, state="accepted")
        earlier = [row for row in same if (row.created_at, row.id) < (file.created_at, file.id)]
        return min(earlier, key=lambda row: (row.created_at, row.id), default=None)

    async def named_blobs(self, file_ids: Sequence[tuple[str, str]]) -> set[str]:
        return {row.blob_key for row in self.files.values() if (row.tenant_id, row.id) in file_ids}

    async def save_file(self, file: FileRecord) -> None:
        self._get(self.files, file.tenant_id, file.id)
        self.files[file.id] = file

    async def add_contract(self, contract: ContractRecord) -> None:
        self._add(self.contracts, contract)

    async def get_contract(self, tenant_id: str, contract_id: str) -> ContractRecord:
        row: ContractRecord = self._get(self.contracts, tenant_id, contract_id)
        return row

    async def save_contract_part(self, tenant_id: str, contract_id: str, **parts: Any) -> None:
        row = await self.get_contract(tenant_id, contract_id)
        merged: dict[str, Any] = {
            name: {**getattr(row, name), **parts.pop(name)} for name in ("usage", "reports") if name in parts
        }
        self.contracts[contract_id] = replace(row, **parts, **merged)

    async def add_task(self, task: TaskRecord) -> None:
        self._add(self.tasks, task)

    async def get_task(self, tenant_id: str, task_id: str) -> TaskRecord:
        row: TaskRecord = self._get(self.tasks, tenant_id, task_id)
        return row

    async def list_tasks(self, tenant_id: str, *, limit: int = 50) -> Sequence[TaskRecord]:
        rows = [row for row in self.tasks.values() if row.tenant_id == tenant_id]
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)[:limit]

    async def finish_task(self, tenant_id: str, task_id: str, *, state: str, error: str | None, at: datetime) -> None:
        row = self.tasks.get(task_id)
        if row is not None and row.tenant_id == tenant_id:
            self.tasks[task_id] = replace(row, state=state, error=error, finished_at=at)

    async def reopen_task(self, tenant_id: str, task_id: str) -> None:
        row = await self.get_task(tenant_id, task_id)
        self.tasks[task_id] = replace(row, state="accepted", error=None, finished_at=None)

    async def audit(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    async def audit_trail(self, tenant_id: str, *, limit: int = 100) -> Sequence[AuditEntry]:
        return [entry for entry in reversed(self.entries) if entry.tenant_id == tenant_id][:limit]

    async def add_api_key(self, key: ApiKeyRecord) -> None:
        self._add(self.keys, key)

    async def find_api_key(self, sha256: str) -> ApiKeyRecord | None:
        return next((key for key in self.keys.values() if key.sha256 == sha256 and key.revoked_at is None), None)

    async def unfinished_tasks(self, *, created_before: datetime, limit: int = 500) -> Sequence[TaskRecord]:
        rows = [row for row in self.tasks.values() if row.finished_at is None and row.created_at < created_before]
        return sorted(rows, key=lambda row: row.created_at)[:limit]

    async def prune(self, *, finished_before: datetime) -> int:
        old = [key for key, row in self.tasks.items() if row.finished_at and row.finished_at < finished_before]
        for key in old:
            del self.tasks[key]
        return len(old)


class MemoryRecords:
    def __init__(self) -> None:
        self.committed = MemoryUnit()
        self.down = False
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[MemoryUnit]:
        async with self._lock:
            await self.ping()
            work = self.committed.copy()
            yield work
            self.committed = work

    async def migrate(self) -> None:
        await self.ping()

    async def ping(self) -> None:
        if self.down:
            raise Unavailable("the database can't be reached")

    async def close(self) -> None:
        self.down = True


class MemoryQueue:
    def __init__(self) -> None:
        self.views: dict[str, TaskView] = {}
        self.flows: dict[str, Flow] = {}
        self.metrics: list[Mapping[str, Any]] = []
        self.replays: list[tuple[str, str | None, bool]] = []
        self.watchers = 0
        self.down = False
        self.schedules: Any = None  # the tests of schedules put real ones here
        self.jobs: Any = None  # those of single jobs and of control, a real client
        self._changed = asyncio.Condition()

    async def job(self, job_id: str) -> JobView:
        await self.ping()
        view: JobView = await self.jobs.job(job_id)
        return view

    async def wait_job(self, job_id: str, *, after: str | None = None, timeout_s: float = 30.0) -> JobView:
        await self.ping()
        view: JobView = await self.jobs.wait_job(job_id, after=after, timeout_s=timeout_s)
        return view

    def job_events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[JobEvent]:
        events: AsyncIterator[JobEvent] = self.jobs.job_events(job_id, after=after)
        return events

    async def cancel_job(self, job_id: str) -> CancelAnswer:
        await self.ping()
        answer: CancelAnswer = await self.jobs.cancel_job(job_id)
        return answer

    async def submit(self, flow: Flow) -> bool:
        await self.ping()
        if flow.id in self.flows:
            return False
        self.flows[flow.id] = flow
        steps = [
            StepView(name=s.name, job_id=flow.job_id(s), queue=s.queue, function=s.function, state="queued")
            for s in flow.steps
        ]
        self.views[flow.id] = TaskView(
            id=flow.id, kind=flow.kind, tenant_id=flow.tenant_id, state="queued", progress=0.0, steps=steps,
            created_at=flow.created_at,
        )  # fmt: skip
        return True

    async def change(self, task_id: str, **fields: Any) -> None:
        """What the engine would do: the task's view changes, its watchers hear of it."""
        async with self._changed:
            self.views[task_id] = self.views[task_id].model_copy(update=fields)
            self._changed.notify_all()

    def forget(self, task_id: str) -> None:
        del self.views[task_id], self.flows[task_id]

    async def view(self, task_id: str) -> TaskView:
        await self.ping()
        if task_id not in self.views:
            raise NotFound(f"there is no task {task_id}")
        return self.views[task_id]

    async def cancel(self, task_id: str) -> CancelAnswer:
        view = await self.view(task_id)
        if view.state in FINISHED:
            return "finished"
        if view.state == "running":
            return "cancelling"
        await self.change(task_id, state="cancelled", finished_at=datetime.now(UTC))
        return "cancelled"

    async def replay_flow(self, task_id: str, step: str | None = None, *, failed_only: bool = False) -> None:
        view = await self.view(task_id)
        if view.state not in FINISHED:
            raise Conflict(f"task {task_id} runs")
        if step is not None and step not in {one.name for one in view.steps}:
            raise InvalidInput(f"no step {step!r}")
        self.replays.append((task_id, step, failed_only))
        await self.change(task_id, state="queued", finished_at=None)

    async def children(self, task_id: str, step: str, *, offset: int = 0, limit: int = 50) -> ChildrenPage:
        await self.view(task_id)
        child = ChildView(index=offset, job_id=f"ocr-1-{step}.{offset}", state="succeeded")
        return ChildrenPage(step=step, total=limit, offset=offset, children=[child])

    async def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        self.watchers += 1
        try:
            view = await self.view(task_id)
            yield view
            while view.state not in FINISHED:
                async with self._changed:
                    while self.views[task_id] is view:
                        await self._changed.wait()
                view = await self.view(task_id)
                yield view
        finally:
            self.watchers -= 1

    async def queues(self) -> list[QueueView]:
        await self.ping()
        waiting = sum(view.state == State.QUEUED for view in self.views.values())
        return [QueueView(name="ingest", waiting=waiting, deferred=0, running=0, dead=0, workers=1)]

    def control(self, queue: str) -> Control:
        control: Control = self.jobs.control(queue)
        return control

    async def record_metrics(self, figures: Mapping[str, Any]) -> None:
        await self.ping()
        self.metrics.append(figures)

    async def ping(self) -> None:
        if self.down:
            raise Unavailable("Redis can't be reached")


class Server(TestServer):
    """aiohttp's test server cancels handlers whose client has gone; run as it is for people, the server doesn't.

    And it waits ten seconds for the rest of a body it has refused, which tests needn't.
    """

    async def _make_runner(self, **options: Any) -> BaseRunner:
        return await super()._make_runner(**{**options, "handler_cancellation": False, "lingering_time": 0.5})


@dataclass
class Lab:
    """A running server, its ports, and two tenants with a key each."""

    records: MemoryRecords
    blobs: MemoryBlobs
    queue: MemoryQueue
    access: Access
    client: TestClient[Any, Any]
    key: str
    other_key: str

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def other_auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.other_key}"}

    @property
    def origin(self) -> str:
        return str(self.client.make_url("/")).rstrip("/")

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *, blobs: MemoryBlobs | None = None, seal: Seal | None = None, **limits: Any
    ) -> AsyncIterator[Self]:
        records, queue, store = MemoryRecords(), MemoryQueue(), blobs or MemoryBlobs()
        access = Access(records)
        bounds = ServerLimits(**{"max_upload_bytes": 1_000_000, **limits})
        app = build_app(records=records, blobs=store, queue=queue, access=access, limits=bounds, seal=seal)
        key = await mint_api_key(records, "acme", "tests")
        other_key = await mint_api_key(records, "globex", "tests")
        async with TestClient(Server(app)) as client:
            yield cls(
                records=records, blobs=store, queue=queue, access=access, client=client, key=key, other_key=other_key
            )

    async def add_document(self, tenant_id: str = "acme", **parts: Any) -> tuple[FileRecord, ContractRecord]:
        """An accepted file and its contract, as the workers leave them."""
        now = datetime.now(UTC)
        file_id = new_id("file")
        file = FileRecord(
            id=file_id, tenant_id=tenant_id, name="Deed of sale.pdf", blob_key=f"{tenant_id}/files/{file_id}/original",
            size_bytes=3, sha256="0" * 64, state="accepted", created_at=now,
        )  # fmt: skip
        contract = ContractRecord(id=new_id("contract"), tenant_id=tenant_id, file_id=file_id, created_at=now, **parts)
        async with self.records.unit() as unit:
            await unit.add_file(file)
            await unit.add_contract(contract)
        return file, contract

    async def add_task(self, tenant_id: str = "acme", *, queued: bool = True) -> str:
        """A submitted task; with ``queued=False`` one that never reached the queue."""
        _, contract = await self.add_document(tenant_id, text_key="x")
        headers = self.auth if tenant_id == "acme" else self.other_auth
        answer = await self.client.post(
            "/api/tasks/contracts/analyze", json={"contract_id": contract.id}, headers=headers
        )
        assert answer.status == 202, await answer.text()
        task_id: str = (await answer.json())["task_id"]
        if not queued:
            self.queue.forget(task_id)
        return task_id


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    """Return as soon as ``condition()`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # what is waited for may be any state, not only an event
            await asyncio.sleep(0.005)
