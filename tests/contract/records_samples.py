"""Rows that the suites of `ports.Records` write and read back."""

from __future__ import annotations

from datetime import UTC, datetime

from jobqueue.ports import ContractRecord, FileRecord, Records, TaskRecord
from jobqueue.tasks import Analysis, Clause, DocumentInfo, Extraction, Fact, Quote, Scan, Summary

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
TENANT = "tenant-1"
QUOTE = Quote(page=1, start=0, end=5, text="Búyer")
FILE = FileRecord(
    id="file-1",
    tenant_id=TENANT,
    name="Kaufvertrag – Süd.pdf",
    blob_key="tenant-1/files/file-1/original",
    size_bytes=5_000_000_000,
    sha256="ab" * 32,
    state="received",
    created_at=NOW,
)
INFO = DocumentInfo(
    mime_type="application/pdf",
    extension=".pdf",
    sha256="ab" * 32,
    size_bytes=5,
    pages=2,
    metadata={"title": "A\0B", "author": "\ud800"},
)
SCAN = Scan(verdict="infected", engine="ClamAV 1.4.6", finding="Eicar.Test", at=NOW)
CONTRACT = ContractRecord(id="contract-1", tenant_id=TENANT, file_id=FILE.id, created_at=NOW)
TASK = TaskRecord(
    id="task-1", tenant_id=TENANT, kind="process_file", state="queued", created_at=NOW, spec={"steps": []}
)
EXTRACTION = Extraction(
    document_class="lease",
    class_confidence=0.9,
    facts=[Fact(kind="rent", value="1200.00 USD", quote=QUOTE, confidence=0.75)],
)
SUMMARY = Summary(text="A lease.", key_points=[])
ANALYSIS = Analysis(clauses=[Clause(name="rent", title="Rent", present=True, quote=QUOTE)], findings=[])


async def add_contract(records: Records) -> None:
    async with records.unit() as unit:
        await unit.add_file(FILE)
        await unit.add_contract(CONTRACT)
