"""One transaction over the tables: the SQL behind `jobqueue.ports.UnitOfWork`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Executable,
    RowMapping,
    Table,
    and_,
    delete,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobqueue.errors import Conflict, NotFound
from jobqueue.ports import ApiKeyRecord, AuditEntry, ContractRecord, FileRecord, TaskRecord
from jobqueue.records.failures import translated
from jobqueue.records.mapping import from_row, plain, to_row
from jobqueue.records.models import UtcDateTime, api_keys, audit_log, contracts, files, tasks

_NOUNS: Final = {files: "file", contracts: "contract", tasks: "task", api_keys: "API key"}
_SET_PARTS: Final = frozenset({"text_key", "extraction", "summary", "analysis"})
_MERGED_PARTS: Final = frozenset({"usage", "reports"})
_MAX_ROWS: Final = 1_000
_MAX_ERROR_CHARS: Final = 16_000
_ACCEPTED, _FAILED, _SUCCEEDED = "accepted", "failed", "succeeded"


class SqlUnit:
    """Implements `jobqueue.ports.UnitOfWork` on one open transaction, which `Database.unit` begins and ends."""

    def __init__(self, connection: AsyncConnection, database: str) -> None:
        self._connection = connection
        self._database = database  # its name for error messages

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_file(self, file: FileRecord) -> None:
        await self._add(files, file)

    async def get_file(self, tenant_id: str, file_id: str) -> FileRecord:
        return from_row(FileRecord, await self._get(files, tenant_id, file_id))

    async def save_file(self, file: FileRecord) -> None:
        result = await self._run(update(files).where(_key(files, file.tenant_id, file.id)).values(to_row(file)))
        if not result.rowcount:
            raise _missing(files, file.id)

    async def find_files(self, tenant_id: str, sha256: str, *, state: str) -> Sequence[FileRecord]:
        same = and_(files.c.tenant_id == tenant_id, files.c.sha256 == sha256, files.c.state == state)
        rows = await self._run(select(files).where(same).order_by(files.c.created_at, files.c.id).limit(_MAX_ROWS))
        return [from_row(FileRecord, row) for row in rows.mappings()]

    async def find_accepted_twin(self, file: FileRecord) -> FileRecord | None:
        earlier = tuple_(files.c.created_at, files.c.id) < tuple_(literal(file.created_at, UtcDateTime), file.id)
        same = and_(files.c.tenant_id == file.tenant_id, files.c.sha256 == file.sha256, files.c.state == _ACCEPTED)
        first = select(files).where(same, earlier).order_by(files.c.created_at, files.c.id).limit(1)
        row = (await self._run(first)).mappings().one_or_none()
        return None if row is None else from_row(FileRecord, row)

    async def named_blobs(self, file_ids: Sequence[tuple[str, str]]) -> set[str]:
        asked = select(files.c.blob_key, files.c.info).where(tuple_(files.c.tenant_id, files.c.id).in_(file_ids))
        rows = (await self._run(asked)).all()
        return {row.blob_key for row in rows} | {row.info.get("reading_key") for row in rows if row.info} - {None}

    # ── contracts ────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_contract(self, contract: ContractRecord) -> None:
        """As the port says; `NotFound` when its file is not the tenant's."""
        await self._get(files, contract.tenant_id, contract.file_id)
        await self._add(contracts, contract)

    async def get_contract(self, tenant_id: str, contract_id: str) -> ContractRecord:
        return from_row(ContractRecord, await self._get(contracts, tenant_id, contract_id))

    async def save_contract_part(self, tenant_id: str, contract_id: str, **parts: Any) -> None:
        """As the port says; `TypeError` for a part that doesn't exist."""
        if unknown := parts.keys() - _SET_PARTS - _MERGED_PARTS:
            raise TypeError(f"a contract has no part {', '.join(sorted(unknown))}")
        # The row is locked before its maps are read (SQLite holds the whole database), or two steps that finish
        # together would each write back the map without the other's entry.
        row = await self._get(contracts, tenant_id, contract_id, lock=True)
        values = {
            name: {**row[name], **plain(part)} if name in _MERGED_PARTS else plain(part) for name, part in parts.items()
        }
        if values:
            await self._run(update(contracts).where(_key(contracts, tenant_id, contract_id)).values(values))

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add_task(self, task: TaskRecord) -> None:
        await self._add(tasks, task)

    async def get_task(self, tenant_id: str, task_id: str) -> TaskRecord:
        return from_row(TaskRecord, await self._get(tasks, tenant_id, task_id))

    async def list_tasks(self, tenant_id: str, *, limit: int = 50) -> Sequence[TaskRecord]:
        newest = (
            select(tasks).where(tasks.c.tenant_id == tenant_id).order_by(tasks.c.created_at.desc(), tasks.c.id.desc())
        )
        rows = await self._run(newest.limit(_bounded(limit)))
        return [from_row(TaskRecord, row) for row in rows.mappings()]

    async def finish_task(self, tenant_id: str, task_id: str, *, state: str, error: str | None, at: datetime) -> None:
        """As the port says; the first end stays, except that a failed task may succeed when it is replayed."""
        may_end: ColumnElement[bool] = tasks.c.finished_at.is_(None)
        if state == _SUCCEEDED:
            may_end = or_(may_end, tasks.c.state == _FAILED)
        end = {"state": state, "error": error and error[:_MAX_ERROR_CHARS], "finished_at": at}
        await self._run(update(tasks).where(_key(tasks, tenant_id, task_id), may_end).values(end))

    async def reopen_task(self, tenant_id: str, task_id: str) -> None:
        end = {"state": _ACCEPTED, "error": None, "finished_at": None}
        if not (await self._run(update(tasks).where(_key(tasks, tenant_id, task_id)).values(end))).rowcount:
            raise _missing(tasks, task_id)

    async def unfinished_tasks(self, *, created_before: datetime, limit: int = 500) -> Sequence[TaskRecord]:
        unfinished = select(tasks).where(tasks.c.finished_at.is_(None), tasks.c.created_at < created_before)
        rows = await self._run(unfinished.order_by(tasks.c.created_at, tasks.c.id).limit(_bounded(limit)))
        return [from_row(TaskRecord, row) for row in rows.mappings()]

    async def prune(self, *, finished_before: datetime) -> int:
        return (await self._run(delete(tasks).where(tasks.c.finished_at < finished_before))).rowcount

    # ── audit log and API keys ───────────────────────────────────────────────────────────────────────────────────

    async def audit(self, entry: AuditEntry) -> None:
        await self._run(insert(audit_log).values(to_row(entry)))

    async def audit_trail(self, tenant_id: str, *, limit: int = 100) -> Sequence[AuditEntry]:
        mine = select(audit_log).where(audit_log.c.tenant_id == tenant_id)
        newest = mine.order_by(audit_log.c.at.desc(), audit_log.c.number.desc()).limit(_bounded(limit))
        return [from_row(AuditEntry, row) for row in (await self._run(newest)).mappings()]

    async def add_api_key(self, key: ApiKeyRecord) -> None:
        await self._add(api_keys, key)

    async def find_api_key(self, sha256: str) -> ApiKeyRecord | None:
        usable = select(api_keys).where(api_keys.c.sha256 == sha256, api_keys.c.revoked_at.is_(None))
        row = (await self._run(usable)).mappings().one_or_none()
        return None if row is None else from_row(ApiKeyRecord, row)

    # ── statements ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, statement: Executable) -> CursorResult[Any]:
        with translated(self._database):
            return await self._connection.execute(statement)

    async def _add(self, table: Table, record: Any) -> None:
        try:
            # In a savepoint, so that the unit can go on after a Conflict: PostgreSQL would refuse all further work.
            async with self._connection.begin_nested():
                await self._run(insert(table).values(to_row(record)))
        except IntegrityError as exc:
            raise Conflict(f"{_NOUNS[table]} {record.id} exists already") from exc

    async def _get(self, table: Table, tenant_id: str, row_id: str, *, lock: bool = False) -> RowMapping:
        query = select(table).where(_key(table, tenant_id, row_id))
        row = (await self._run(query.with_for_update() if lock else query)).mappings().one_or_none()
        if row is None:
            raise _missing(table, row_id)
        return row


def _key(table: Table, tenant_id: str, row_id: str) -> ColumnElement[bool]:
    return and_(table.c.tenant_id == tenant_id, table.c.id == row_id)


def _missing(table: Table, row_id: str) -> NotFound:
    return NotFound(f"there is no {_NOUNS[table]} {row_id}")


def _bounded(limit: int) -> int:
    return min(max(limit, 0), _MAX_ROWS)  # to SQLite a negative limit means none
