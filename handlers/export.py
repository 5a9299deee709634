"""The export queue: reports for people, out of what the other queues have found."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handlers.context import Ctx, progress, services
from handlers.rendering import labels
from jobqueue.errors import InvalidInput
from jobqueue.payloads import ExportOutcome, ExportReport, ReportFormat
from jobqueue.ports import AuditEntry, Blob, ContractRecord, FileRecord, Limits, Services
from jobqueue.tasks import DocumentText, Report

RENDERERS: Final[dict[ReportFormat, str]] = {
    "pdf": "handlers.rendering.pdf:render_pdf",
    "docx": "handlers.rendering.word:render_docx",
}
"""Format (and file extension) -> the function that writes it, called in the sandbox."""

RENDER_LIMITS: Final = Limits(wall_s=120.0, cpu_s=120, file_bytes=50_000_000)
MAX_TEXT_BYTES: Final = 200_000_000

# What a report can't do without, and the job that makes it.
_MADE_BY: Final = {
    "info": "ingest_document",
    "text": "ocr_document",
    "extraction": "extract_terms",
    "summary": "summarise_contract",
    "analysis": "analyse_contract",
}


async def export_report(ctx: Ctx, task: ExportReport) -> ExportOutcome:
    """Write a contract's report in each of ``formats``, store the files, and note their keys with the contract.

    Run again on an unchanged contract, it stores the same bytes under the same keys.

    Raises:
        InvalidInput: a part of the contract is still missing; says what to do.
        LimitExceeded: rendering took too much time, memory or disk.
        NotFound: the tenant has no such contract.
    """
    world = services(ctx)
    wanted = list(dict.fromkeys(task.formats))
    async with world.records.unit() as unit:
        contract = await unit.get_contract(task.tenant_id, task.contract_id)
        file = await unit.get_file(task.tenant_id, contract.file_id)
    report = (await _assemble(world, file, contract)).model_dump(mode="json")
    blobs: dict[str, Blob] = {}
    # The directory goes with the block, also when the job is cancelled or the child was killed at half a file.
    with tempfile.TemporaryDirectory(prefix="export-", dir=world.temp_dir) as directory:
        for done, name in enumerate(wanted):
            await progress(ctx, done, len(wanted), f"writing {name}")
            path = Path(directory) / f"report.{name}"
            await world.sandbox.run(RENDERERS[name], report, str(path), limits=RENDER_LIMITS)
            key = f"{task.tenant_id}/contracts/{task.contract_id}/report.{name}"
            blobs[name] = await world.blobs.put_file(key, path)
    await _record(world, contract, blobs)
    await progress(ctx, len(wanted), len(wanted), "done")
    return ExportOutcome(
        reports={name: blob.key for name, blob in blobs.items()},
        size_bytes={name: blob.size_bytes for name, blob in blobs.items()},
    )


async def _assemble(world: Services, file: FileRecord, contract: ContractRecord) -> Report:
    info, extraction, summary, analysis = file.info, contract.extraction, contract.summary, contract.analysis
    if not (info and contract.text_key and extraction and summary and analysis):
        parts = {
            "info": info,
            "text": contract.text_key,
            "extraction": extraction,
            "summary": summary,
            "analysis": analysis,
        }
        missing = [name for name, part in parts.items() if not part]
        raise InvalidInput(
            f"contract {contract.id} has no {' and no '.join(missing)} yet: "
            f"run {', '.join(_MADE_BY[name] for name in missing)} first, then export again",
        )
    data = await world.blobs.read(contract.text_key, max_bytes=MAX_TEXT_BYTES)
    address = extraction.first("property_address")
    label = labels.CLASSES[extraction.document_class]
    return Report(
        title=f"{label}: {address.value}" if address else label,
        file_name=file.name,
        generated_at=contract.created_at,  # not now: a retry must write the same bytes
        document=info,
        pages=DocumentText.model_validate_json(data).pages,
        extraction=extraction,
        summary=summary,
        analysis=analysis,
        usage=[contract.usage[step] for step in sorted(contract.usage)],
    )


async def _record(world: Services, contract: ContractRecord, blobs: dict[str, Blob]) -> None:
    async with world.records.unit() as unit:
        reports = {name: blob.key for name, blob in blobs.items()}
        await unit.save_contract_part(contract.tenant_id, contract.id, reports=reports)
        entry = AuditEntry(
            tenant_id=contract.tenant_id,
            actor="worker:export",
            action="contract.exported",
            subject=contract.id,
            at=datetime.now(UTC),
            detail={name: blob.sha256 for name, blob in blobs.items()},  # which bytes: the keys are overwritten
        )
        await unit.audit(entry)
