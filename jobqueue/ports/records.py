"""The database, in the words of the product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from jobqueue.tasks import Analysis, DocumentInfo, Extraction, Scan, Summary, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One uploaded file. ``state``: ``received``, ``accepted``, ``rejected``, ``quarantined``.

    Of a quarantined file nothing is ever read again but its row: it is infected, and has no ``info``.
    """

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
    scan: Scan | None = None


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

    async def find_files(self, tenant_id: str, sha256: str, *, state: str) -> Sequence[FileRecord]:
        """The tenant's files of these bytes in that state, oldest first; so many as one answer may have (1,000)."""
        ...

    async def find_accepted_twin(self, file: FileRecord) -> FileRecord | None:
        """The tenant's first accepted file with the same bytes that was uploaded before this one."""
        ...

    async def named_blobs(self, file_ids: Sequence[tuple[str, str]]) -> set[str]:
        """The blob keys that the rows of these files (tenant's id, file's id) name, as far as there are such rows.

        Of a file with a copy made for reading both are named.
        """
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
