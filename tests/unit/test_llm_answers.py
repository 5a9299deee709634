"""Answers that were paid for are used again: by a retry, a replay, and another task over the same text."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.llm import analyse_contract, extract_terms, summarise_contract
from handlers.system import expire
from jobqueue.errors import Unavailable
from jobqueue.ports import ContractRecord, FileRecord
from jobqueue.records.database import Database
from jobqueue.services.blobs import DirectoryStore
from jobqueue.tasks import DocumentText, Extraction, PageSource, PageText, Summary, Usage
from tests.unit.server_support import MemoryBlobs
from tests.unit.test_llm_handler import IDS, TEXT_KEY, World, world

__all__ = ["world"]  # a fixture

OTHER = {"tenant_id": "tenant-1", "contract_id": "contract-2"}
PAID = Usage(provider="acme", model="big-1", input_tokens=900, output_tokens=100, seconds=3.5)
TEXT = DocumentText(
    pages=[PageText(number=1, text="The price is $5.", source=PageSource.OCR, confidence=0.9, seconds=2)]
)


class PaidModel:
    """Counts what it is asked."""

    def __init__(self, name: str = "acme/big-1") -> None:
        self.name = name
        self.asked: list[str] = []

    async def extract(self, document: DocumentText) -> tuple[Extraction, Usage]:
        self.asked.append("extract")
        return Extraction(document_class="other", class_confidence=len(self.asked) / 100, facts=[]), PAID

    async def summarise(self, document: DocumentText) -> tuple[Summary, Usage]:
        self.asked.append("summarise")
        return Summary(text=f"answer {len(self.asked)}", key_points=[]), PAID

    async def analyse(self, document: DocumentText) -> Any:
        raise Unavailable("the provider is away")

    async def close(self) -> None:
        pass


@pytest.fixture
async def model(world: World) -> PaidModel:  # the fixture imported above
    model = PaidModel()
    world.services = replace(world.services, model=model)
    await world.store_text(TEXT.model_dump_json().encode())
    return model


async def kept(world: World) -> list[str]:
    return [key async for key in world.blobs.keys("") if "/answers/" in key]


async def usage(world: World, contract_id: str = "contract-1") -> Usage:
    async with world.records.unit() as unit:
        return (await unit.get_contract("tenant-1", contract_id)).usage["extract"]


async def add_contract(records: Database, *, tenant_id: str = "tenant-1", contract_id: str = "contract-2") -> None:
    now = datetime.now(UTC)
    file = FileRecord(
        id=f"file-of-{contract_id}", tenant_id=tenant_id, name="x.pdf", blob_key=f"{tenant_id}/files/x", size_bytes=1,
        sha256="00" * 32, state="accepted", created_at=now,
    )  # fmt: skip
    contract = ContractRecord(id=contract_id, tenant_id=tenant_id, file_id=file.id, created_at=now, text_key=TEXT_KEY)
    async with records.unit() as unit:
        await unit.add_file(file)
        await unit.add_contract(contract)


async def test_a_retry_after_a_crash_finds_the_answer_and_its_cost_stands_once(
    world: World,
    model: PaidModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_: Database) -> Any:
        raise Unavailable("the database is away")

    unit, opened = Database.unit, 0

    def second_is_away(records: Database) -> Any:
        nonlocal opened
        opened += 1
        return unit(records) if opened == 1 else away(records)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "unit", second_is_away)
        with pytest.raises(Unavailable):
            await extract_terms(world.ctx(), **IDS)
    assert model.asked == ["extract"]
    assert len(await kept(world)) == 1, "before anything else"
    await extract_terms(world.ctx(), **IDS)
    assert model.asked == ["extract"]
    assert await usage(world) == PAID.model_copy(update={"reused": True})


async def test_a_second_task_over_the_same_text_asks_nothing_and_bills_nothing(
    world: World,
    model: PaidModel,
) -> None:
    await add_contract(world.records)
    first = await extract_terms(world.ctx(), **IDS)
    assert await usage(world) == PAID
    assert await extract_terms(world.ctx(), **OTHER) == first
    assert model.asked == ["extract"]
    assert await usage(world, "contract-2") == Usage(provider="acme", model="big-1", reused=True)
    assert await usage(world) == PAID


async def test_the_same_words_read_again_by_ocr_are_the_same_text(world: World, model: PaidModel) -> None:
    await summarise_contract(world.ctx(), **IDS)
    page = TEXT.pages[0].model_copy(update={"seconds": 9.0, "confidence": 0.8, "source": PageSource.TEXT})
    await world.store_text(DocumentText(pages=[page]).model_dump_json().encode())
    await summarise_contract(world.ctx(), **IDS)
    assert model.asked == ["summarise"]


async def test_another_text_step_provider_or_tenant_is_another_question(world: World, model: PaidModel) -> None:
    await extract_terms(world.ctx(), **IDS)
    await summarise_contract(world.ctx(), **IDS)
    for text in ("The price is $6.", "The price is $5. "):
        page = TEXT.pages[0].model_copy(update={"text": text})
        await world.store_text(DocumentText(pages=[page]).model_dump_json().encode())
        await extract_terms(world.ctx(), **IDS)
    two = [
        PageText(number=n, text=text, source=PageSource.OCR, confidence=1)
        for n, text in enumerate(["The price ", "is $5."], 1)
    ]
    await world.store_text(DocumentText(pages=two).model_dump_json().encode())
    await extract_terms(world.ctx(), **IDS)
    await world.store_text(TEXT.model_dump_json().encode())
    assert model.asked == ["extract", "summarise", "extract", "extract", "extract"]
    bigger = PaidModel("acme/big-2")
    world.services = replace(world.services, model=bigger)
    await extract_terms(world.ctx(), **IDS)
    await add_contract(world.records, tenant_id="tenant-2")
    await extract_terms(world.ctx(), tenant_id="tenant-2", contract_id="contract-2")
    assert bigger.asked == ["extract", "extract"]
    assert {key.partition("/")[0] for key in await kept(world)} == {"tenant-1", "tenant-2"}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"answer": {}, "usage": {"provider": "a", "model": "b"}, "contract_id": "c"}']
)
async def test_a_damaged_answer_is_asked_for_again_and_replaced(world: World, model: PaidModel, damage: bytes) -> None:
    await extract_terms(world.ctx(), **IDS)
    (key,) = await kept(world)
    await world.blobs.put_bytes(key, damage)
    for _ in range(2):
        await extract_terms(world.ctx(), **IDS)
    assert model.asked == ["extract", "extract"]


async def test_what_the_provider_does_not_answer_is_not_kept(world: World, model: PaidModel) -> None:
    with pytest.raises(Unavailable, match="the provider is away"):
        await analyse_contract(world.ctx(), **IDS)
    assert await kept(world) == []


async def test_a_storage_that_does_not_answer_is_no_reason_to_pay_again_nor_to_lose_what_was_paid(
    world: World,
    model: PaidModel,
) -> None:
    class Shaky(MemoryBlobs):
        async def read(self, key: str, *, max_bytes: int) -> bytes:
            if reading_fails and "/answers/" in key:
                raise Unavailable("storage is away")
            return await super().read(key, max_bytes=max_bytes)

        async def put_bytes(self, key: str, data: bytes) -> Any:
            raise Unavailable("storage is full")

    blobs = Shaky()
    blobs.objects[TEXT_KEY] = TEXT.model_dump_json().encode()
    world.services = replace(world.services, blobs=blobs)
    reading_fails = True
    with pytest.raises(Unavailable):
        await extract_terms(world.ctx(), **IDS)
    assert model.asked == []
    reading_fails = False
    await extract_terms(world.ctx(), **IDS)
    assert await usage(world) == PAID


async def test_answers_are_swept_when_they_are_thirty_days_old(
    world: World,
    model: PaidModel,
    tmp_path: Path,
) -> None:
    await extract_terms(world.ctx(), **IDS)
    await summarise_contract(world.ctx(), **IDS)
    old, fresh = await kept(world)
    then = time.time() - 30.1 * 86_400
    for key in (old, TEXT_KEY):
        os.utime(tmp_path / "blobs" / key, (then, then))
    assert isinstance(world.blobs, DirectoryStore)
    elsewhere = replace(world.services, temp_dir=tmp_path / "temp")
    assert (await expire({"services": elsewhere}))["answers"] == 1
    assert await kept(world) == [fresh]
    assert await world.blobs.exists(TEXT_KEY), "only answers are swept"
