"""The ocr handler: all pages in order, two at a time, and one clear error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.ingest import PAGES_SCANNED, PAGES_WITH_TEXT, ingest_document, plan_pages
from handlers.ocr import PAGES_AT_ONCE, join_pages, ocr_document, ocr_pages
from jobqueue.errors import ConfigError, InvalidInput, LimitExceeded, NotFound, RejectedFile, SandboxCrashed
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
    assert (answer["empty_pages"], answer["unreadable_pages"], answer["suspect_words"]) == ([3], [], 0)
    assert answer["characters"] == sum(len(page.text) for page in pages)
    assert 0.9 < answer["mean_confidence"] <= 1
    assert world.records.rows.contracts[TENANT, CONTRACT].text_key == KEY


async def test_progress_counts_every_page_once(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 5))
    await ocr_document(world.ctx(), **IDS)
    assert world.reports == [(n, 5, f"page {n} of 5") for n in (3, 5)]  # two calls
    await accept(world, hostile.text_pdf(["", hostile.PROSE, ""]))
    world.reports.clear()
    await ocr_document(world.ctx(), **IDS)
    assert world.reports == [(n, 3, f"page {n} of 3") for n in (1, 2, 3)]


async def test_every_page_is_read_within_limits_by_the_engine_of_the_settings(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 3))
    await ocr_document(world.ctx(text_engine="pypdfium2"), **IDS)
    assert world.sandbox.calls[1:] == ["handlers.documents.text:read_pages"] * 2
    assert None not in world.sandbox.limits


async def test_pages_are_recognised_by_the_engine_of_the_settings(world: World) -> None:
    await accept(world, hostile.mixed_pdf())
    with pytest.raises(ConfigError, match="no ocr_engine 'abbyy'"):
        await ocr_document(world.ctx(ocr_engine="abbyy"), **IDS)


async def test_a_page_that_cannot_be_read_is_named_and_the_others_kept(world: World) -> None:
    await accept(world, hostile.picture_beside_print_tiff(), "offer.tiff")
    answer = await ocr_document(world.ctx(), **IDS)
    assert answer["unreadable_pages"] == [2]
    assert [page.source for page in stored(world).pages] == [PageSource.OCR, PageSource.UNREADABLE]
    assert answer["mean_confidence"] > 0.85  # of what was read


async def test_running_again_stores_the_same(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 2))
    first = await ocr_document(world.ctx(), **IDS)
    assert await ocr_document(world.ctx(), **IDS) == first | {"reused": True}


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
    """Holds the first calls until as many as may be are in flight, then fails those from the pages it is told to."""

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


@pytest.mark.parametrize("text", [hostile.PROSE, ""])
async def test_no_more_calls_are_in_flight_than_allowed(world: World, text: str) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE, *[text] * 5]))
    world.sandbox = sandbox = ScriptedSandbox()
    await ocr_document(world.ctx(), **IDS)
    assert sandbox.most == PAGES_AT_ONCE
    assert [page.number for page in stored(world).pages] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("error", [LimitExceeded("page 2 took too long"), SandboxCrashed("the child died")])
async def test_a_page_s_own_error_comes_out_not_a_group(world: World, error: Exception) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 4))
    world.sandbox = sandbox = ScriptedSandbox({3: error})  # with which the second call begins
    with pytest.raises(type(error)) as caught:
        await ocr_document(world.ctx(), **IDS)
    assert caught.value is error
    assert sandbox.inside == 0
    assert KEY not in world.blobs.objects


async def test_a_long_document_takes_few_calls(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 50))
    await ocr_document(world.ctx(), **IDS)
    assert [page.number for page in stored(world).pages] == list(range(1, 51))
    assert len(world.sandbox.calls[1:]) == 4


async def test_a_damaged_page_amid_others_is_the_one_that_is_named(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 6))

    class Damaged(InProcessSandbox):
        """Page 5 can't be read: a call ends before it, and the next one fails of it."""

        async def run(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
            if args[2] == 5:
                raise RejectedFile("page 5 is damaged")
            return [page for page in await super().run(function, *args, **kwargs) if page["number"] < 5]

    world.sandbox = Damaged()
    with pytest.raises(RejectedFile, match="page 5 is damaged"):
        await ocr_document(world.ctx(), **IDS)
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


# ── by ranges, over many workers ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Task:
    """What the steps of a task know of it: its id, and what the ocr step's jobs returned."""

    id: str = "task-1"
    returned: list[dict[str, Any]] = field(default_factory=list)

    async def results(self, step: str) -> AsyncIterator[SimpleNamespace]:
        assert step == "ocr"
        for value in self.returned:
            yield SimpleNamespace(value=value)


async def read_in_ranges(world: World, task: Task, *ranges: tuple[int, int]) -> None:
    for first, last in ranges:
        task.returned.append(await ocr_pages(world.ctx() | {"flow": task}, **IDS, first=first, last=last))


async def test_pages_read_in_ranges_and_joined_are_those_of_one_job(world: World) -> None:
    await accept(world, hostile.mixed_pdf())
    whole = await ocr_document(world.ctx(), **IDS)
    before = stored(world)
    task = Task()
    await read_in_ranges(world, task, (1, 2), (3, 3))
    parts = [key for key in world.blobs.objects if "/parts/" in key]
    assert parts == [f"{TENANT}/contracts/{CONTRACT}/parts/task-1/{name}.json" for name in ("1-2", "3-3")]
    joined = await join_pages(world.ctx() | {"flow": task}, **IDS)
    assert joined == whole
    assert [page.model_copy(update={"seconds": 0.0}) for page in stored(world).pages] == [
        page.model_copy(update={"seconds": 0.0}) for page in before.pages
    ]
    assert not [key for key in world.blobs.objects if "/parts/" in key]


async def test_the_joined_text_is_the_parts_own_bytes(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 5))
    task = Task()
    await read_in_ranges(world, task, (1, 2), (3, 4), (5, 5))
    parts = [DocumentText.model_validate_json(world.blobs.objects[result["part"]]) for result in task.returned]
    await join_pages(world.ctx() | {"flow": task}, **IDS)
    expected = DocumentText(pages=[page for part in parts for page in part.pages]).model_dump_json().encode()
    assert world.blobs.objects[KEY] == expected


async def test_a_join_that_was_cut_off_among_dropping_parts_finds_what_it_stored(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 4))
    task = Task()
    await read_in_ranges(world, task, (1, 2), (3, 4))
    first = await join_pages(world.ctx() | {"flow": task}, **IDS)
    before = world.blobs.objects[KEY]
    assert await join_pages(world.ctx() | {"flow": task}, **IDS) == first
    assert world.blobs.objects[KEY] == before


async def test_a_join_without_all_pages_is_refused(world: World) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 4))
    task = Task()
    await read_in_ranges(world, task, (1, 2))
    with pytest.raises(InvalidInput, match=f"2 of 4 pages of file {FILE} were read"):
        await join_pages(world.ctx() | {"flow": task}, **IDS)
    assert KEY not in world.blobs.objects


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 1), (1, 5)])
async def test_pages_that_a_file_does_not_have_are_refused(world: World, first: int, last: int) -> None:
    await accept(world, hostile.text_pdf([hostile.PROSE] * 4))
    with pytest.raises(InvalidInput, match="pages 1 to 4"):
        await ocr_pages(world.ctx(), **IDS, first=first, last=last)


async def test_scans_are_planned_in_shorter_ranges_than_text(world: World) -> None:
    ids = {"tenant_id": TENANT, "file_id": FILE}
    await accept(world, hostile.text_pdf([hostile.PROSE] * (PAGES_WITH_TEXT + 1)))
    planned = await plan_pages(world.ctx(), **ids)
    assert planned["ranges"] == [
        {"first": 1, "last": PAGES_WITH_TEXT}, {"first": PAGES_WITH_TEXT + 1, "last": PAGES_WITH_TEXT + 1},
    ]  # fmt: skip
    await accept(world, hostile.text_pdf([hostile.PROSE, ""] * 3))
    planned = await plan_pages(world.ctx(), **ids)
    assert [span["last"] for span in planned["ranges"]] == [PAGES_SCANNED, 6]
