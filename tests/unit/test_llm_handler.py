"""The handlers of the llm queue over a real database, store and sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from handlers.context import Ctx
from handlers.llm import analyse_contract, extract_terms, summarise_contract
from jobqueue.errors import InvalidInput, NotFound
from jobqueue.ports import ContractRecord, FileRecord, Services
from jobqueue.records.database import Database
from jobqueue.services.blobs import DirectoryStore
from jobqueue.services.models import OfflineModel
from jobqueue.services.sandbox import ProcessSandbox
from jobqueue.services.virusscan import NoScanner
from tests.unit.contract_samples import PURCHASE, document

IDS = {"tenant_id": "tenant-1", "contract_id": "contract-1"}
TEXT_KEY = "tenant-1/contracts/contract-1/text.json"


@dataclass(slots=True)
class World:
    """A worker's services, one contract, and what was reported."""

    records: Database
    blobs: DirectoryStore
    services: Services
    reports: list[tuple[int, int]] = field(default_factory=list)

    def ctx(self) -> Ctx:
        async def report(done: int, total: int, message: str) -> None:
            self.reports.append((done, total))

        return {"job_id": "llm-1", "services": self.services, "progress": report}

    async def store_text(self, data: bytes) -> None:
        await self.blobs.put_bytes(TEXT_KEY, data)
        async with self.records.unit() as unit:
            await unit.save_contract_part("tenant-1", "contract-1", text_key=TEXT_KEY)

    async def contract(self) -> ContractRecord:
        async with self.records.unit() as unit:
            return await unit.get_contract("tenant-1", "contract-1")

    async def actions(self) -> list[tuple[str, str, str]]:
        async with self.records.unit() as unit:
            return [(entry.actor, entry.action, entry.subject) for entry in await unit.audit_trail("tenant-1")]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    records = Database(f"sqlite:///{tmp_path}/jobqueue.db")
    blobs = DirectoryStore(tmp_path / "blobs")
    now = datetime.now(UTC)
    await records.migrate()
    async with records.unit() as unit:
        await unit.add_file(
            FileRecord(
                id="file-1",
                tenant_id="tenant-1",
                name="offer.pdf",
                blob_key="tenant-1/files/file-1/original",
                size_bytes=1,
                sha256="00" * 32,
                state="accepted",
                created_at=now,
            )
        )
        await unit.add_contract(ContractRecord(id="contract-1", tenant_id="tenant-1", file_id="file-1", created_at=now))
    async with ProcessSandbox(processes=1) as sandbox:
        model = OfflineModel(sandbox)
        bundle = Services(
            blobs=blobs, sandbox=sandbox, records=records, model=model, scanner=NoScanner(), temp_dir=tmp_path
        )
        yield World(records, blobs, bundle)
    await blobs.close()
    await records.close()


async def test_the_three_steps_fill_one_contract(world: World) -> None:
    await world.store_text(document(*PURCHASE).model_dump_json().encode())

    extracted = await extract_terms(world.ctx(), **IDS)
    summarised = await summarise_contract(world.ctx(), **IDS)
    analysed = await analyse_contract(world.ctx(), **IDS)

    contract = await world.contract()
    assert contract.extraction is not None
    assert contract.summary is not None
    assert contract.analysis is not None
    assert extracted["document_class"] == "purchase_agreement"
    assert {"kind": "closing_date", "value": "2025-04-30", "page": 2, "confidence": 0.94} in extracted["facts"]
    assert len(extracted["facts"]) == len(contract.extraction.facts)
    assert summarised == {"characters": len(contract.summary.text), "key_points": len(contract.summary.key_points)}
    assert analysed["clauses"] + analysed["missing"] == len(contract.analysis.clauses)
    assert analysed["findings"] == len(contract.analysis.findings)
    assert contract.usage.keys() == {"extract", "summarise", "analyse"}


async def test_each_step_is_audited_and_reports_progress(world: World) -> None:
    await world.store_text(document(*PURCHASE).model_dump_json().encode())

    await analyse_contract(world.ctx(), **IDS)

    assert await world.actions() == [("worker:llm", "contract.analysed", "contract-1")]
    assert world.reports == [(0, 2), (1, 2), (2, 2)]


async def test_a_step_that_runs_again_gives_and_keeps_the_same(world: World) -> None:
    await world.store_text(document(*PURCHASE).model_dump_json().encode())

    first = await extract_terms(world.ctx(), **IDS)
    kept = (await world.contract()).extraction

    assert await extract_terms(world.ctx(), **IDS) == first
    assert (await world.contract()).extraction == kept


async def test_a_contract_without_text_asks_for_ocr_first(world: World) -> None:
    with pytest.raises(InvalidInput, match="contract contract-1 has no text yet: run OCR"):
        await extract_terms(world.ctx(), **IDS)
    assert await world.actions() == []


async def test_a_damaged_text_asks_for_ocr_again_and_changes_nothing(world: World) -> None:
    await world.store_text(b'{"pages": [{"number": ')

    with pytest.raises(InvalidInput, match="text of contract contract-1 is damaged: run OCR"):
        await summarise_contract(world.ctx(), **IDS)
    assert (await world.contract()).summary is None


async def test_another_tenants_contract_is_as_good_as_missing(world: World) -> None:
    await world.store_text(document(*PURCHASE).model_dump_json().encode())

    with pytest.raises(NotFound):
        await extract_terms(world.ctx(), tenant_id="tenant-2", contract_id="contract-1")
