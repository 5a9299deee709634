"""The ocr handler: all pages in order, two at a time, and one clear error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from handlers.ingest import ingest_document
from handlers.ocr import PAGES_AT_ONCE, ocr_document
from jobqueue.errors import InvalidInput, LimitExceeded, NotFound, RejectedFile, SandboxCrashed
from jobqueue.tasks import DocumentText, PageSource
from tests.unit import hostile_files as hostile
from tests.unit.documents_support import CONTRACT, FILE, TENANT, InProcessSandbox, World

IDS = {"tenant_id": TENANT, "file_id": FILE, "contract_id": CONTRACT}
KEY = f"{TENANT}/contracts/{CONTRACT}/text.json"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def accept(world: World, data: bytes, name: str = "offer.pdf") -> None:
    world.upload(data, name)
    await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)


def stored(world: World) -> DocumentText:
    return DocumentText.model_validate_json(world.blobs.objects[KEY])


async def test_only_the_scanned_page_of_a_mixed_pdf_goes_through_recognition(world: World) -> None:
    await accept(world, hostile.mixed_pdf())
    answer = await ocr_document(world.ctx(), **IDS)
    pages = stored(world).pages
    assert [page.number for page in pages] == [1, 2, 3]
    assert [page.source for page in pages] == [PageSource.TEXT, PageSource.OCR, PageSource.EMPTY]
    assert "$8,500.00 with Stillfinch Title" in pages[1].text
    assert answer["pages"] == 3
    assert answer["ocr_pages"] == 1
    assert answer["empty_pages"] == [3]
    assert answer["characters"] == sum(len(page.text) for page in pages)
    assert 0.9 < answer["mean_confidence"] <= 1
    assert world.records.rows.contracts[TENANT, CONTRACT].text_key == KEY


async def test_progress_counts_every_page_once(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 5))
    await ocr_document(world.ctx(), **IDS)
    assert world.reports == [(n, 5, f"page {n} of 5") for n in range(1, 6)]


async def test_every_page_is_read_within_limits_by_the_engine_of_the_settings(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 3))
    await ocr_document(world.ctx(text_engine="pypdfium2"), **IDS)
    assert world.sandbox.calls[1:] == ["handlers.documents.text:read_page"] * 3
    assert None not in world.sandbox.limits


async def test_running_again_stores_the_same(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 2))
    first = await ocr_document(world.ctx(), **IDS)
    assert await ocr_document(world.ctx(), **IDS) == first


async def test_a_document_without_any_text_is_refused_and_leaves_nothing(world: World) -> None:
    await accept(world, hostile.text_pdf(["", ""]))
    with pytest.raises(RejectedFile, match=r"nothing readable was found in offer\.pdf"):
        await ocr_document(world.ctx(), **IDS)
    assert KEY not in world.blobs.objects
    assert world.records.rows.contracts[TENANT, CONTRACT].text_key is None


async def test_a_file_that_was_not_accepted_is_not_read(world: World) -> None:
    world.upload(hostile.text_pdf(), "offer.pdf")
    with pytest.raises(InvalidInput, match="received, not accepted"):
        await ocr_document(world.ctx(), **IDS)


async def test_an_unknown_contract_is_found_out_before_the_work(world: World) -> None:
    await accept(world, hostile.text_pdf())
    with pytest.raises(NotFound):
        await ocr_document(world.ctx(), tenant_id=TENANT, file_id=FILE, contract_id="contract-2")
    assert world.sandbox.calls == ["handlers.documents.inspect:inspect"]


class ScriptedSandbox(InProcessSandbox):
    """Holds the first pages until as many as may be are in flight, then fails those it is told to."""

    def __init__(self, failing: dict[int, Exception] | None = None, *, hold: bool = False) -> None:
        super().__init__()
        self.failing = failing or {}
        self.inside, self.most = 0, 0
        self.full = asyncio.Event()
        self.gate = asyncio.Event() if hold else self.full

    async def run(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside == PAGES_AT_ONCE:
            self.full.set()
        try:
            await self.gate.wait()
            if args[2] in self.failing:
                raise self.failing[args[2]]
            return await super().run(function, *args, **kwargs)
        finally:
            self.inside -= 1


async def test_no_more_pages_are_in_flight_than_allowed(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 6))
    world.sandbox = sandbox = ScriptedSandbox()
    await ocr_document(world.ctx(), **IDS)
    assert sandbox.most == PAGES_AT_ONCE
    assert [page.number for page in stored(world).pages] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("error", [LimitExceeded("page 2 took too long"), SandboxCrashed("the child died")])
async def test_a_page_s_own_error_comes_out_not_a_group(world: World, error: Exception) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 4))
    world.sandbox = sandbox = ScriptedSandbox({2: error})
    with pytest.raises(type(error)) as caught:
        await ocr_document(world.ctx(), **IDS)
    assert caught.value is error
    assert sandbox.inside == 0
    assert KEY not in world.blobs.objects


async def test_a_cancelled_job_stops_its_pages(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 4))
    world.sandbox = sandbox = ScriptedSandbox(hold=True)
    job = asyncio.create_task(ocr_document(world.ctx(), **IDS))
    await sandbox.full.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert sandbox.inside == 0
