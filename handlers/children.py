"""Files that were inside of another: each gets a record and a task of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from handlers.context import Ctx, services
from handlers.documents.cleaning import shown_name
from jobqueue import intake, tasks
from jobqueue.errors import LimitExceeded, NotFound
from jobqueue.flows import Flow
from jobqueue.ports import Blob, FileRecord, Limits, TaskQueue, UnitOfWork
from jobqueue.tasks import ChildFile, DocumentInfo

UNPACK_LIMITS: Final = Limits(wall_s=90.0, cpu_s=90)
CONTAINERS: Final = frozenset(("application/zip", "message/rfc822", "application/vnd.ms-outlook"))
MAX_NESTING: Final = 2
"""A mail in an archive in a mail may have attachments no more. An id's dots tell how deep its file was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A child in storage, not yet recorded."""

    file: FileRecord
    contract_id: str
    flow: Flow

    @property
    def shown(self) -> ChildFile:
        """What the parent's record says of it."""
        return ChildFile(file_id=self.file.id, task_id=self.flow.id, name=self.file.name)


async def unpack(ctx: Ctx, file: FileRecord, info: DocumentInfo) -> list[Unpacked]:
    """Put the files inside of a ZIP or a mail into storage. Their ids follow from the parent's: a repeat is the same.

    Raises:
        LimitExceeded: too many, too large, or too deep.
        RejectedFile: the file is damaged.
    """
    if info.mime_type not in CONTAINERS:
        return []
    world = services(ctx)
    with tempfile.TemporaryDirectory(dir=world.temp_dir) as folder:
        async with world.blobs.local(file.blob_key) as path:
            found = await world.sandbox.run(
                "handlers.documents.children:unpack",
                str(path),
                info.mime_type,
                file.name,
                folder,
                max_bytes=world.max_upload_bytes,
                limits=UNPACK_LIMITS,
            )
        if found and file.id.count(".") >= MAX_NESTING:
            raise LimitExceeded(
                f"{shown_name(file.name)} holds files, and is itself {MAX_NESTING} files deep: upload those alone"
            )
        children = []
        for number, child in enumerate(found, start=1):
            key = f"{file.tenant_id}/files/{file.id}.{number}/original"
            blob = await world.blobs.put_file(key, Path(child["path"]))
            children.append(_child(file, number, child["name"], blob))
    return children


async def record(unit: UnitOfWork, children: Sequence[Unpacked]) -> None:
    """Add the rows of all children, in the transaction that accepts their parent."""
    for child in children:
        file, flow = child.file, child.flow
        if await _is_recorded(unit, file):  # by an earlier verdict on the same parent
            continue
        await unit.add_file(file)
        ids = {"file_id": file.id, "contract_id": child.contract_id}
        await intake.add_contract(unit, flow, **ids)
        await intake.add_task(unit, flow, **ids, actor="worker:ingest")


async def submit(ctx: Ctx, tenant_id: str, children: Sequence[ChildFile]) -> None:
    """Enqueue the children's tasks, each once; the ``resubmit`` job makes up for what a crash keeps from it."""
    if not children:
        return
    queue = cast("TaskQueue", ctx["queues"])
    async with services(ctx).records.unit() as unit:
        rows = [await unit.get_task(tenant_id, child.task_id) for child in children]
    for row in rows:
        await queue.submit(Flow.from_data(row.spec))


async def _is_recorded(unit: UnitOfWork, file: FileRecord) -> bool:
    try:
        await unit.get_file(file.tenant_id, file.id)
    except NotFound:
        return False
    return True


def _child(parent: FileRecord, number: int, name: str, blob: Blob) -> Unpacked:
    file_id = f"{parent.id}.{number}"
    suffix = file_id.partition("-")[2] or file_id
    contract_id = f"contract-{suffix}"
    flow = tasks.process_file(
        task_id=f"task-{suffix}", tenant_id=parent.tenant_id, file_id=file_id, contract_id=contract_id
    )
    file = FileRecord(
        id=file_id,
        tenant_id=parent.tenant_id,
        name=name,
        blob_key=blob.key,
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
        state="received",
        created_at=flow.created_at,
    )
    return Unpacked(file=file, contract_id=contract_id, flow=flow)
