"""Before a file is parsed: have it scanned for malware, and put away what is infected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from handlers.context import Ctx, services
from handlers.documents.cleaning import shown_name
from jobqueue.errors import RejectedFile
from jobqueue.ports import AuditEntry, FileRecord, Services
from jobqueue.tasks import Scan

QUARANTINED: Final = "quarantined"


async def scan_file(ctx: Ctx, file: FileRecord) -> None:
    """Have a file scanned, and keep the verdict with it. Run again, it comes to the same.

    An infected file's bytes move to a key that nothing serves or reads, and its record says so for good. So do those
    of the tenant's files with the same bytes, which were accepted before the signature was known, or while there was no
    scanner; and the same bytes uploaded again follow them without a scan.

    Raises:
        RejectedFile: it is infected, or can't be scanned as a whole; the file's record says which.
        Unavailable: scanning is mandatory, and there is no scanner now: the file waits.
    """
    world = services(ctx)
    if file.state == QUARANTINED:
        raise _infected(file, file.scan)
    scan = await _known(world, file) or await _look(world, file)
    match scan.verdict:
        case "infected":
            # The file itself last: once it is in quarantine, a repeat stops above.
            for one in (*await _accepted_twins(world, file), file):
                await _quarantine(world, one, scan)
            raise _infected(file, scan)
        case "unscannable":
            reason = (
                f"{shown_name(file.name)} can't be checked for viruses, {scan.finding}: upload it in parts, or plain"
            )
            await _save(world, file, scan, state="rejected", info=None, reason=reason)
            raise RejectedFile(reason)
        case _:
            await _save(world, file, scan)


async def _known(world: Services, file: FileRecord) -> Scan | None:
    """The verdict on the same bytes, where they are in quarantine already: there may be no scanner today."""
    async with world.records.unit() as unit:
        twins = await unit.find_files(file.tenant_id, file.sha256, state=QUARANTINED)
    return twins[0].scan if twins else None


async def _accepted_twins(world: Services, file: FileRecord) -> list[FileRecord]:
    async with world.records.unit() as unit:
        twins = await unit.find_files(file.tenant_id, file.sha256, state="accepted")
    return [twin for twin in twins if twin.id != file.id]


async def _look(world: Services, file: FileRecord) -> Scan:
    async with world.blobs.local(file.blob_key) as path:
        return await world.scanner.scan(path)


async def _quarantine(world: Services, file: FileRecord, scan: Scan) -> None:
    """Copy, commit, delete: a crash between them leaves a row that names an object, and one that nothing serves.

    After the last such crash the old object belongs to no row, and the ``expire`` job removes it.
    """
    if file.info is not None and file.info.reading_key is not None:  # made from it, and as bad
        await world.blobs.delete(file.info.reading_key)
    key = f"{file.tenant_id}/quarantine/{file.id}"
    async with world.blobs.local(file.blob_key) as path:
        await world.blobs.put_file(key, path)
    reason = str(_infected(file, scan))
    await _save(world, file, scan, state=QUARANTINED, blob_key=key, info=None, reason=reason)
    await world.blobs.delete(file.blob_key)


async def _save(world: Services, file: FileRecord, scan: Scan, **verdict: Any) -> None:
    async with world.records.unit() as unit:
        before = await unit.get_file(file.tenant_id, file.id)
        after = replace(before, scan=_newer(before.scan, scan), **verdict)
        if after == before:  # a second run
            return
        await unit.save_file(after)
        if after.state != before.state:
            await unit.audit(audit_entry(after, {"engine": scan.engine, "finding": scan.finding or ""}))


def _newer(old: Scan | None, new: Scan) -> Scan:
    """The first of two scans that differ in nothing but their time."""
    return old if old is not None and old == new.model_copy(update={"at": old.at}) else new


def audit_entry(file: FileRecord, detail: Mapping[str, str]) -> AuditEntry:
    """What the audit trail keeps of a file's new state."""
    return AuditEntry(
        tenant_id=file.tenant_id,
        actor="worker:ingest",
        action=f"file.{file.state}",
        subject=file.id,
        at=datetime.now(UTC),
        detail=detail,
    )


def _infected(file: FileRecord, scan: Scan | None) -> RejectedFile:
    found = scan.finding if scan else "malware"
    return RejectedFile(
        f"{shown_name(file.name)} is infected ({found}) and in quarantine: don't open the original either"
    )
