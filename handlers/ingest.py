"""The ingest queue: is this file one that we can read, and in which parts?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from handlers import children, signatures
from handlers.context import Ctx, services
from handlers.documents.cleaning import shown_name
from handlers.documents.policy import CHECKS
from handlers.quarantine import audit_entry, scan_file
from jobqueue.errors import ConfigError, InvalidInput, LimitExceeded, RejectedFile
from jobqueue.ports import FileRecord, Limits, Services
from jobqueue.tasks import DocumentInfo

INSPECT_LIMITS: Final = Limits(wall_s=90.0, cpu_s=90)
PAGES_SCANNED: Final = 4
PAGES_WITH_TEXT: Final = 50
"""Pages that one job reads: about half a minute's work on scans, and little more than a second's on text layers."""
_TOLD: Final = {"mime_type", "pages", "sha256", "size_bytes"}
SAMPLES: Final = 8
"""Pages looked at to find out which of both a file is. A wrong guess costs only speed."""


async def ingest_document(
    ctx: Ctx, *, tenant_id: str, file_id: str, sealed_password: SecretStr | None = None
) -> dict[str, Any]:
    """Inspect an uploaded file and record it as accepted or rejected; unpack what holds other files.

    The same bytes of the same tenant are answered from the earlier result. Run again, it finds and records the same.

    Args:
        ctx: the job's context.
        tenant_id: whose file it is.
        file_id: of the uploaded file.
        sealed_password: opens a protected PDF, once it is unsealed; in clear it goes to the sandbox and nowhere else.

    Raises:
        RejectedFile, LimitExceeded: the file is not acceptable; its record says why.
        ConfigError: the password was sealed with another key than this worker's.
        NotFound: the tenant has no such file.
    """
    world = services(ctx)
    async with world.records.unit() as unit:
        file = await unit.get_file(tenant_id, file_id)
    await scan_file(ctx, file)
    inside: Sequence[children.Unpacked] = ()
    try:
        info = await _earlier(world, file)
        if info is None:
            info = await _inspect(world, file, _unsealed(world, file, sealed_password))
            inside = await children.unpack(ctx, file, info)
            info = info.model_copy(update={"children": [child.shown for child in inside]})
    except (RejectedFile, LimitExceeded) as exc:
        # The reason names the file, which can be personal data: it stays out of the audit trail.
        detail = {"error": type(exc).__name__}
        await _record(world, file, detail, state="rejected", info=None, reason=str(exc))
        raise
    await _record(world, file, _trail(info), inside, state="accepted", info=info, reason=None)
    await children.submit(ctx, tenant_id, [child.shown for child in inside])
    return info.model_dump(include=_TOLD | ({"duplicate_of"} if info.duplicate_of else set()))


async def plan_pages(ctx: Ctx, *, tenant_id: str, file_id: str) -> dict[str, Any]:
    """Divide an accepted file's pages into ranges, each read by a job of its own.

    Returns:
        ``ranges``: the first and last page of each; short ones where pages have to be recognised.

    Raises:
        InvalidInput: the file has not been accepted.
        NotFound: the tenant has no such file.
    """
    world = services(ctx)
    async with world.records.unit() as unit:
        file = await unit.get_file(tenant_id, file_id)
    if file.info is None:
        raise InvalidInput(f"file {file_id} is {file.state}, not accepted: ingest it first")
    samples = spread(file.info.pages, SAMPLES)
    async with world.blobs.local(file.info.reading_key or file.blob_key) as path:
        layered = await world.sandbox.run(
            "handlers.documents.text:layered",
            str(path),
            file.info.mime_type,
            samples,
            engine=world.text_engine,
            limits=INSPECT_LIMITS,
        )
    return {"ranges": ranges(file.info.pages, PAGES_WITH_TEXT if layered else PAGES_SCANNED)}


def ranges(pages: int, pages_a_job: int) -> list[dict[str, int]]:
    """Pages from 1 to ``pages`` in ranges.

    >>> ranges(5, 4)
    [{'first': 1, 'last': 4}, {'first': 5, 'last': 5}]
    """
    return [{"first": first, "last": min(first + pages_a_job - 1, pages)} for first in range(1, pages + 1, pages_a_job)]


def spread(pages: int, samples: int) -> list[int]:
    """At most so many page numbers, evenly spread, the first and the last page among them.

    >>> spread(3, 8), spread(100, 4)
    ([1, 2, 3], [1, 34, 67, 100])
    """
    if pages <= samples:
        return list(range(1, pages + 1))
    return [1 + (pages - 1) * n // (samples - 1) for n in range(samples)]


def _trail(info: DocumentInfo) -> dict[str, str]:
    """What the audit trail says of an accepted file: no names, no content."""
    detail = {"mime_type": info.mime_type, "pages": str(info.pages)}
    if info.findings:
        detail["findings"] = " ".join(sorted({finding.code for finding in info.findings}))
    if info.copy_made:
        detail["copy_made"] = info.copy_made
    if info.duplicate_of:
        detail["duplicate_of"] = info.duplicate_of
    return detail


async def _earlier(world: Services, file: FileRecord) -> DocumentInfo | None:
    """What these checks have found of the same bytes, where they were uploaded to this tenant before."""
    async with world.records.unit() as unit:
        twin = await unit.find_accepted_twin(file)
    if twin is None or twin.info is None or twin.info.checks != CHECKS or twin.info.copy_made:
        return None  # a copy may have been made with a password, which this upload would have to give, too
    told = f"The same file was uploaded before, as {twin.id}: this is what was found then."
    update = {"duplicate_of": twin.info.duplicate_of or twin.id, "warnings": [*twin.info.warnings, told]}
    return twin.info.model_copy(update=update)


def _unsealed(world: Services, file: FileRecord, sealed: SecretStr | None) -> str | None:
    if sealed is None:
        return None
    if world.seal is None:
        raise ConfigError("a file came with its password, and this worker has no key: set JOBQUEUE_SECRET_KEY")
    return world.seal.unseal(sealed.get_secret_value(), of=f"{file.tenant_id}/{file.id}")


async def _inspect(world: Services, file: FileRecord, password: str | None) -> DocumentInfo:
    with tempfile.TemporaryDirectory(dir=world.temp_dir) as folder:
        copy = Path(folder, "readable")
        async with world.blobs.local(file.blob_key) as path:
            found = await world.sandbox.run(
                "handlers.documents.inspect:inspect",
                str(path),
                file.name,
                max_bytes=world.max_upload_bytes,
                max_pages=world.max_pages,
                engine=world.text_engine,
                password=password,
                copy_to=str(copy),
                limits=INSPECT_LIMITS,
            )
            info = DocumentInfo.model_validate(found)
            info = await signatures.checked(world, path, info, password)
        if info.sha256 != file.sha256:
            name = shown_name(file.name)
            raise RejectedFile(f"{name} is not in storage as it was uploaded (its SHA-256 differs): upload it again")
        if info.copy_made is None:
            return info
        blob = await world.blobs.put_file(f"{file.tenant_id}/files/{file.id}/readable", copy)
        return info.model_copy(update={"reading_key": blob.key})


async def _record(
    world: Services,
    file: FileRecord,
    detail: Mapping[str, str],
    inside: Sequence[children.Unpacked] = (),
    **verdict: Any,
) -> None:
    async with world.records.unit() as unit:
        before = await unit.get_file(file.tenant_id, file.id)
        after = replace(before, **verdict)
        if after == before:  # a second run: the trail already has the entry
            return
        await unit.save_file(after)
        await children.record(unit, inside)
        await unit.audit(audit_entry(after, detail))
