"""The export queue: reports for people, out of what the other queues have found, and a file's text in other formats."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from handlers.context import Ctx, progress, services
from handlers.rendering import labels
from jobqueue.errors import InvalidInput
from jobqueue.payloads import ANALYSIS_FORMATS, EXTENSIONS, ExportOutcome, ExportReport, ReportFormat
from jobqueue.ports import AuditEntry, Blob, ContractRecord, FileRecord, Limits, Sandbox, Services
from jobqueue.tasks import DocumentText, Report

RENDERERS: Final[dict[ReportFormat, str]] = {
    "pdf": "handlers.rendering.pdf:render_pdf",
    "docx": "handlers.rendering.word:render_docx",
    "txt": "handlers.rendering.textual.plain:write_txt",
    "json": "handlers.rendering.textual.pages_json:write_json",
    "md": "handlers.rendering.textual.markdown:write_md",
    "hocr": "handlers.rendering.textual.hocr:write_hocr",
    "alto": "handlers.rendering.textual.alto:write_alto",
    "searchable_pdf": "handlers.rendering.paged.searchable:write_searchable",
    "pdfa": "handlers.rendering.paged.archive:write_pdfa",
}
"""Format -> the function that writes it, called in the sandbox with what it is made from, and where it goes."""

PAGED: Final[frozenset[ReportFormat]] = frozenset({"searchable_pdf", "pdfa"})
"""Those that show the file's own pages."""

RENDER_LIMITS: Final = Limits(wall_s=120.0, cpu_s=120, file_bytes=50_000_000)
TEXT_LIMITS: Final = Limits(wall_s=120.0, cpu_s=120)
PAGED_LIMITS: Final = Limits(wall_s=280.0, cpu_s=280)  # of the 300 s that the job has
MAX_TEXT_BYTES: Final = 200_000_000

# What an export can't do without, and the job that makes it.
_MADE_BY: Final = {
    "info": "ingest_document",
    "text": "ocr_document",
    "extraction": "extract_terms",
    "summary": "summarise_contract",
    "analysis": "analyse_contract",
}


async def export_report(ctx: Ctx, task: ExportReport) -> ExportOutcome:
    """Write a contract's report, or its file's text, in each of ``formats``; store them, and note their keys with it.

    Run again on an unchanged contract, it stores the same bytes under the same keys. The file itself isn't touched.

    Raises:
        InvalidInput: a part of the contract is still missing, or a file of that type has no pages to show; says what
            to do.
        LimitExceeded: rendering took too much time, memory or disk.
        NotFound: the tenant has no such contract.
    """
    world = services(ctx)
    wanted = list(dict.fromkeys(task.formats))
    async with world.records.unit() as unit:
        contract = await unit.get_contract(task.tenant_id, task.contract_id)
        file = await unit.get_file(task.tenant_id, contract.file_id)
    blobs: dict[str, Blob] = {}
    async with _materials(world, file, contract, wanted) as given:
        # The directory goes with the block, also when the job is cancelled or the child was killed at half a file.
        with tempfile.TemporaryDirectory(prefix="export-", dir=world.temp_dir) as directory:
            for done, name in enumerate(wanted):
                await progress(ctx, done, len(wanted), f"writing {name}")
                path = Path(directory) / _file_name(name)
                await given.write(world.sandbox, name, path)
                key = f"{task.tenant_id}/contracts/{task.contract_id}/{path.name}"
                blobs[name] = await world.blobs.put_file(key, path)
    await _record(world, contract, blobs)
    await progress(ctx, len(wanted), len(wanted), "done")
    return ExportOutcome(
        reports={name: blob.key for name, blob in blobs.items()},
        size_bytes={name: blob.size_bytes for name, blob in blobs.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Materials:
    """What the formats are made from; of each no more than is wanted."""

    report: dict[str, Any]
    text: str
    source: tuple[str, ...]

    async def write(self, sandbox: Sandbox, name: ReportFormat, path: Path) -> None:
        made_from, limits = (self.report, RENDER_LIMITS) if name in ANALYSIS_FORMATS else (self.text, TEXT_LIMITS)
        if name in PAGED:
            await sandbox.run(RENDERERS[name], made_from, str(path), *self.source, limits=PAGED_LIMITS)
        else:
            await sandbox.run(RENDERERS[name], made_from, str(path), limits=limits)


@asynccontextmanager
async def _materials(
    world: Services, file: FileRecord, contract: ContractRecord, wanted: Sequence[ReportFormat]
) -> AsyncIterator[_Materials]:
    report: dict[str, Any] = {}
    text = ""
    source: tuple[str, ...] = ()
    async with AsyncExitStack() as stack:
        if not ANALYSIS_FORMATS.isdisjoint(wanted):
            report = (await _assemble(world, file, contract)).model_dump(mode="json")
        if not ANALYSIS_FORMATS.issuperset(wanted):
            _demand(contract, text=contract.text_key)
            assert contract.text_key
            text = str(await stack.enter_async_context(world.blobs.local(contract.text_key)))
        if not PAGED.isdisjoint(wanted):
            info = file.info
            _demand(contract, info=info)
            assert info
            path = await stack.enter_async_context(world.blobs.local(info.reading_key or file.blob_key))
            source = (str(path), info.mime_type, world.text_engine)
        yield _Materials(report=report, text=text, source=source)


def _file_name(name: ReportFormat) -> str:
    # Never `text.json`: under that name lies what all of this is made from.
    return f"{'report' if name in ANALYSIS_FORMATS else 'document'}.{EXTENSIONS[name]}"


def _demand(contract: ContractRecord, **parts: Any) -> None:
    missing = [name for name, part in parts.items() if not part]
    if missing:
        raise InvalidInput(
            f"contract {contract.id} has no {' and no '.join(missing)} yet: "
            f"run {', '.join(_MADE_BY[name] for name in missing)} first, then export again",
        )


async def _assemble(world: Services, file: FileRecord, contract: ContractRecord) -> Report:
    info, extraction, summary, analysis = file.info, contract.extraction, contract.summary, contract.analysis
    text_key = contract.text_key
    _demand(contract, info=info, text=text_key, extraction=extraction, summary=summary, analysis=analysis)
    assert info and text_key and extraction and summary and analysis  # noqa: PT018  # as demanded; for the types
    data = await world.blobs.read(text_key, max_bytes=MAX_TEXT_BYTES)
    address = extraction.first("property_address")
    label = labels.CLASSES[extraction.document_class]
    return Report(
        title=f"{label}: {address.value}" if address else label,
        file_name=file.name,
        generated_at=contract.created_at,  # not now: a retry must write the same bytes
        document=info,
        # Without the words' places, which no report shows, and which are most of the text's bytes.
        pages=[page.model_copy(update={"word_table": ""}) for page in DocumentText.model_validate_json(data).pages],
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
