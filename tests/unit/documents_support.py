"""The ports in a few lines each, held in memory, for tests of the document handlers."""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgpack

from jobqueue.errors import NotFound
from jobqueue.ports import (
    AuditEntry,
    Blob,
    BlobStore,
    ContractModel,
    ContractRecord,
    FileRecord,
    Limits,
    Records,
    Sandbox,
    Services,
    TaskRecord,
    UnitOfWork,
)
from jobqueue.services.virusscan import NoScanner

TENANT = "tenant-1"
FILE = "file-1"
CONTRACT = "contract-1"
NOW = datetime(2025, 3, 3, 12, tzinfo=UTC)


class InProcessSandbox:
    """Calls the function right here, but lets through only what could cross to a child and back."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.limits: list[Limits | None] = []

    async def run(self, function: str, /, *args: Any, limits: Limits | None = None, **kwargs: Any) -> Any:
        self.calls.append(function)
        self.limits.append(limits)
        args, kwargs = _carried(list(args)), _carried(kwargs)
        module, _, name = function.partition(":")
        return _carried(getattr(importlib.import_module(module), name)(*args, **kwargs))

    async def close(self) -> None:
        """Nothing to kill."""


def _carried(value: Any) -> Any:
    return msgpack.unpackb(msgpack.packb(value))


@dataclass(slots=True)
class DictBlobs:
    """Objects in a dictionary, lent out as files in ``folder``."""

    folder: Path
    objects: dict[str, bytes] = field(default_factory=dict)

    async def put_bytes(self, key: str, data: bytes) -> Blob:
        self.objects[key] = data
        return Blob(key=key, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def put_file(self, key: str, path: Path) -> Blob:
        return await self.put_bytes(key, path.read_bytes())  # noqa: ASYNC240  # a test's small file

    async def read(self, key: str, *, max_bytes: int) -> bytes:
        if key not in self.objects:
            raise NotFound(f"there is no object {key}")
        assert len(self.objects[key]) <= max_bytes
        return self.objects[key]

    async def delete(self, key: str) -> bool:
        return self.objects.pop(key, None) is not None

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        if key not in self.objects:
            raise NotFound(f"there is no object {key}")
        path = self.folder / "local"
        path.write_bytes(self.objects[key])
        yield path
        path.unlink()


@dataclass(slots=True)
class MemoryUnit:
    """Rows in dictionaries."""

    files: dict[tuple[str, str], FileRecord] = field(default_factory=dict)
    contracts: dict[tuple[str, str], ContractRecord] = field(default_factory=dict)
    tasks: dict[tuple[str, str], TaskRecord] = field(default_factory=dict)
    trail: list[AuditEntry] = field(default_factory=list)

    async def get_file(self, tenant_id: str, file_id: str) -> FileRecord:
        try:
            return self.files[tenant_id, file_id]
        except KeyError:
            raise NotFound(f"there is no file {file_id}") from None

    async def find_files(self, tenant_id: str, sha256: str, *, state: str) -> Sequence[FileRecord]:
        wanted = (tenant_id, sha256, state)
        return [row for row in self.files.values() if (row.tenant_id, row.sha256, row.state) == wanted]

    async def find_accepted_twin(self, file: FileRecord) -> FileRecord | None:
        same = [row for row in self.files.values() if (row.tenant_id, row.sha256) == (file.tenant_id, file.sha256)]
        earlier = [row for row in same if (row.created_at, row.id) < (file.created_at, file.id)]
        return next((row for row in sorted(earlier, key=lambda row: row.id) if row.state == "accepted"), None)

    async def add_file(self, file: FileRecord) -> None:
        assert (file.tenant_id, file.id) not in self.files
        self.files[file.tenant_id, file.id] = file

    async def add_contract(self, contract: ContractRecord) -> None:
        self.contracts[contract.tenant_id, contract.id] = contract

    async def add_task(self, task: TaskRecord) -> None:
        assert (task.tenant_id, task.id) not in self.tasks
        self.tasks[task.tenant_id, task.id] = task

    async def get_task(self, tenant_id: str, task_id: str) -> TaskRecord:
        return self.tasks[tenant_id, task_id]

    async def save_file(self, file: FileRecord) -> None:
        await self.get_file(file.tenant_id, file.id)
        self.files[file.tenant_id, file.id] = file

    async def get_contract(self, tenant_id: str, contract_id: str) -> ContractRecord:
        try:
            return self.contracts[tenant_id, contract_id]
        except KeyError:
            raise NotFound(f"there is no contract {contract_id}") from None

    async def save_contract_part(self, tenant_id: str, contract_id: str, **parts: Any) -> None:
        row = await self.get_contract(tenant_id, contract_id)
        self.contracts[tenant_id, contract_id] = replace(row, **parts)

    async def audit(self, entry: AuditEntry) -> None:
        self.trail.append(entry)


@dataclass(slots=True)
class MemoryRecords:
    """Units of work that land whole or not at all."""

    rows: MemoryUnit = field(default_factory=MemoryUnit)

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[UnitOfWork]:
        draft = copy.deepcopy(self.rows)
        yield cast("UnitOfWork", draft)  # the handlers under test use no more of it
        self.rows = draft


@dataclass(slots=True)
class World:
    """A worker's context with one uploaded file, and what can be looked at afterwards."""

    folder: Path
    sandbox: InProcessSandbox = field(default_factory=InProcessSandbox)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    reports: list[tuple[int, int, str]] = field(default_factory=list)
    blobs: DictBlobs = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = DictBlobs(self.folder)

    def upload(self, data: bytes, name: str) -> None:
        key = f"{TENANT}/files/{FILE}"
        self.blobs.objects[key] = data
        self.records.rows.files[TENANT, FILE] = FileRecord(
            id=FILE,
            tenant_id=TENANT,
            name=name,
            blob_key=key,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            state="received",
            created_at=NOW,
        )
        self.records.rows.contracts[TENANT, CONTRACT] = ContractRecord(
            id=CONTRACT, tenant_id=TENANT, file_id=FILE, created_at=NOW
        )

    @property
    def file(self) -> FileRecord:
        return self.records.rows.files[TENANT, FILE]

    def ctx(self, **options: Any) -> dict[str, Any]:
        async def report(done: int, total: int, message: str) -> None:
            self.reports.append((done, total, message))

        bundle = Services(
            blobs=cast("BlobStore", self.blobs),
            sandbox=cast("Sandbox", self.sandbox),
            records=cast("Records", self.records),
            model=cast("ContractModel", None),  # no document handler asks a model
            temp_dir=self.folder,
            **{"scanner": NoScanner(), **options},
        )
        return {"job_id": "ocr-1", "job_try": 1, "services": bundle, "progress": report}
