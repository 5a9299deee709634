"""The ocr queue: every page's text, from the file's own text layer or by recognition."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from handlers.context import Ctx, part_of, progress, results_of, services
from handlers.described import describe
from handlers.documents.cleaning import shown_name
from handlers.ocr_cache import read_once
from jobqueue.errors import InvalidInput, NotFound, RejectedFile
from jobqueue.ports import FileRecord, Limits
from jobqueue.tasks import DocumentInfo, DocumentText, PageSource, PageText

PAGES_AT_ONCE: Final = 2
PAGES_A_CALL: Final = 16  # at most: where they have a text layer, they take 20 ms together
PAGE_LIMITS: Final = Limits(wall_s=120.0, cpu_s=120)
MAX_TEXT_BYTES: Final = 200_000_000


async def ocr_document(ctx: Ctx, *, tenant_id: str, file_id: str, contract_id: str) -> dict[str, Any]:
    """Read every page of an accepted file in one job, and store the text with the contract.

    Run again, it replaces the text by the same. `ocr_pages` and `join_pages` do the same over many workers.

    Raises:
        RejectedFile: a page is damaged, or no page gave any text.
        LimitExceeded: a page took too much time or memory.
        InvalidInput: the file has not been accepted.
        NotFound: the tenant has no such file or contract.
    """
    file, info = await _accepted(ctx, tenant_id, file_id, contract_id)
    document, reused = await _read(ctx, file, info, range(1, info.pages + 1))
    return await _keep(ctx, document, file, contract_id) | _reuse(reused)


async def ocr_pages(
    ctx: Ctx, *, tenant_id: str, file_id: str, contract_id: str, first: int, last: int
) -> dict[str, Any]:
    """Read some pages of an accepted file, and store their text for `join_pages`.

    Returns:
        ``part``: the key under which it lies; ``pages``: how many they are; ``reused``: where the same bytes had been
        read before.

    Raises as `ocr_document`, but where no page gave any text: others may.
    """
    file, info = await _accepted(ctx, tenant_id, file_id, contract_id)
    if not 1 <= first <= last <= info.pages:
        raise InvalidInput(f"pages {first} to {last}: file {file_id} has pages 1 to {info.pages}")
    document, reused = await _read(ctx, file, info, range(first, last + 1))
    key = f"{tenant_id}/contracts/{contract_id}/parts/{part_of(ctx)}/{first}-{last}.json"
    await services(ctx).blobs.put_bytes(key, document.model_dump_json().encode())
    return {"part": key, "pages": len(document.pages)} | _reuse(reused)


async def join_pages(ctx: Ctx, *, tenant_id: str, file_id: str, contract_id: str) -> dict[str, Any]:
    """Put together what the task's `ocr_pages` read, store it with the contract, and drop the parts.

    Raises:
        RejectedFile: no page gave any text.
        InvalidInput: pages are missing.
        NotFound: the tenant has no such file or contract.
    """
    file, info = await _accepted(ctx, tenant_id, file_id, contract_id)
    keys = [str(result["part"]) async for result in results_of(ctx, "ocr")]
    try:
        document = await _join(ctx, keys)
    except NotFound:
        # Only one who has stored the whole drops parts: this job in an attempt that was cut off, or is replayed.
        document = await _parse(ctx, _text_key(tenant_id, contract_id))
    if [page.number for page in document.pages] != list(range(1, info.pages + 1)):
        raise InvalidInput(f"{len(document.pages)} of {info.pages} pages of file {file_id} were read: run OCR again")
    outline = await _keep(ctx, document, file, contract_id)
    for key in keys:
        await services(ctx).blobs.delete(key)
    return outline


async def _accepted(ctx: Ctx, tenant_id: str, file_id: str, contract_id: str) -> tuple[FileRecord, DocumentInfo]:
    async with services(ctx).records.unit() as unit:
        file = await unit.get_file(tenant_id, file_id)
        await unit.get_contract(tenant_id, contract_id)
    if file.info is None:
        raise InvalidInput(f"file {file_id} is {file.state}, not accepted: ingest it first")
    return file, file.info


async def _read(ctx: Ctx, file: FileRecord, info: DocumentInfo, numbers: range) -> tuple[DocumentText, bool]:
    """The pages' text, and whether it was there from an earlier reading of the same bytes."""
    async with services(ctx).blobs.local(info.reading_key or file.blob_key) as path:
        reading = functools.partial(_read_pages, ctx, path, info.mime_type, numbers)
        pages, reused = await read_once(ctx, file, info, path=path, numbers=numbers, read=reading)
    return DocumentText(pages=pages), reused


def _reuse(reused: bool) -> dict[str, bool]:
    return {"reused": True} if reused else {}


async def _join(ctx: Ctx, keys: Sequence[str]) -> DocumentText:
    parts = [await _parse(ctx, key) for key in keys]
    return DocumentText(pages=[page for part in parts for page in part.pages])


async def _parse(ctx: Ctx, key: str) -> DocumentText:
    return DocumentText.model_validate_json(await services(ctx).blobs.read(key, max_bytes=MAX_TEXT_BYTES))


async def _keep(ctx: Ctx, document: DocumentText, file: FileRecord, contract_id: str) -> dict[str, Any]:
    """Store the text with the contract; what is worth knowing of it."""
    if not document.characters:
        raise RejectedFile(f"nothing readable was found in {shown_name(file.name)}: scan it darker, or at 300 dpi")
    world, key = services(ctx), _text_key(file.tenant_id, contract_id)
    await world.blobs.put_bytes(key, document.model_dump_json().encode())
    async with world.records.unit() as unit:
        await unit.save_contract_part(file.tenant_id, contract_id, text_key=key)
    await describe(world, file, document)
    return _outline(document)


def _text_key(tenant_id: str, contract_id: str) -> str:
    return f"{tenant_id}/contracts/{contract_id}/text.json"


async def _read_pages(ctx: Ctx, path: Path, mime_type: str, numbers: range) -> list[PageText]:
    world = services(ctx)
    slots = asyncio.Semaphore(PAGES_AT_ONCE)
    pages: dict[int, PageText] = {}

    async def read(span: range) -> None:
        async with slots:
            found = await world.sandbox.run(
                "handlers.documents.text:read_pages",
                str(path),
                mime_type,
                span[0],
                span[-1],
                engine=world.text_engine,
                languages=world.ocr_languages,
                ocr_engine=world.ocr_engine,
                limits=PAGE_LIMITS,
            )
        pages.update((page.number, page) for page in map(PageText.model_validate, found))
        await progress(ctx, len(pages), len(numbers), f"page {len(pages)} of {len(numbers)}")
        # Pages that take long come back one by one: their range is shared out, so that no slot runs dry.
        begin(spans(span[len(found) :], PAGES_AT_ONCE))

    def begin(several: Iterable[range]) -> None:
        for span in several:
            group.create_task(read(span), name=f"reader of page {span[0]} and on")

    try:
        async with asyncio.TaskGroup() as group:
            begin(spans(numbers, max(PAGES_AT_ONCE, math.ceil(len(numbers) / PAGES_A_CALL))))
    except BaseExceptionGroup as several:  # the page's own error decides about the retry
        raise several.exceptions[0] from None
    return [pages[number] for number in sorted(pages)]


def spans(numbers: range, parts: int) -> list[range]:
    """Page numbers in at most so many parts of about the same length.

    >>> spans(range(1, 8), 2), spans(range(3, 4), 2), spans(range(0), 2)
    ([range(1, 5), range(5, 8)], [range(3, 4)], [])
    """
    length = max(1, math.ceil(len(numbers) / parts))
    return [numbers[start : start + length] for start in range(0, len(numbers), length)]


def _outline(document: DocumentText) -> dict[str, Any]:
    read = [page for page in document.pages if page.source not in {PageSource.EMPTY, PageSource.UNREADABLE}]
    seen = {PageSource.OCR, PageSource.BOTH}
    return {
        "pages": len(document.pages),
        "ocr_pages": sum(page.source in seen for page in read),
        "empty_pages": _numbers(document, PageSource.EMPTY),
        "unreadable_pages": _numbers(document, PageSource.UNREADABLE),
        "suspect_words": sum(word.suspect for page in read if page.source in seen for word in page.words),
        "characters": document.characters,
        "mean_confidence": round(sum(page.confidence for page in read) / len(read), 4),
    }


def _numbers(document: DocumentText, source: PageSource) -> list[int]:
    return [page.number for page in document.pages if page.source is source]
