"""The ocr queue: every page's text, from the file's own text layer or by recognition."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from handlers.context import Ctx, progress, services
from handlers.documents.cleaning import shown_name
from jobqueue.errors import InvalidInput, RejectedFile
from jobqueue.ports import Limits
from jobqueue.tasks import DocumentInfo, DocumentText, PageSource, PageText

PAGES_AT_ONCE: Final = 2
PAGE_LIMITS: Final = Limits(wall_s=120.0, cpu_s=120)


async def ocr_document(ctx: Ctx, *, tenant_id: str, file_id: str, contract_id: str) -> dict[str, Any]:
    """Read every page of an accepted file and store the text with the contract.

    Run again, it replaces the text by the same.

    Raises:
        RejectedFile: a page is damaged, or no page gave any text.
        LimitExceeded: a page took too much time or memory.
        InvalidInput: the file has not been accepted.
        NotFound: the tenant has no such file or contract.
    """
    world = services(ctx)
    async with world.records.unit() as unit:
        file = await unit.get_file(tenant_id, file_id)
        await unit.get_contract(tenant_id, contract_id)
    if file.info is None:
        raise InvalidInput(f"file {file_id} is {file.state}, not accepted: ingest it first")
    async with world.blobs.local(file.blob_key) as path:
        document = DocumentText(pages=await _read_pages(ctx, path, file.info))
    if not document.characters:
        raise RejectedFile(f"nothing readable was found in {shown_name(file.name)}: scan it darker, or at 300 dpi")
    key = f"{tenant_id}/contracts/{contract_id}/text.json"
    await world.blobs.put_bytes(key, document.model_dump_json().encode())
    async with world.records.unit() as unit:
        await unit.save_contract_part(tenant_id, contract_id, text_key=key)
    return _outline(document)


async def _read_pages(ctx: Ctx, path: Path, info: DocumentInfo) -> list[PageText]:
    world = services(ctx)
    numbers = iter(range(1, info.pages + 1))
    pages: dict[int, PageText] = {}

    async def read() -> None:
        for number in numbers:  # shared by the readers: each takes the next page
            page = await world.sandbox.run(
                "handlers.documents.text:read_page",
                str(path),
                info.mime_type,
                number,
                engine=world.text_engine,
                languages=world.ocr_languages,
                limits=PAGE_LIMITS,
            )
            pages[number] = PageText.model_validate(page)
            await progress(ctx, len(pages), info.pages, f"page {len(pages)} of {info.pages}")

    try:
        async with asyncio.TaskGroup() as group:
            for reader in range(PAGES_AT_ONCE):
                group.create_task(read(), name=f"page reader {reader}")
    except BaseExceptionGroup as several:  # the page's own error decides about the retry
        raise several.exceptions[0] from None
    return [pages[number] for number in sorted(pages)]


def _outline(document: DocumentText) -> dict[str, Any]:
    seen = [page for page in document.pages if page.source is not PageSource.EMPTY]
    return {
        "pages": len(document.pages),
        "ocr_pages": sum(page.source is PageSource.OCR for page in seen),
        "empty_pages": [page.number for page in document.pages if page.source is PageSource.EMPTY],
        "characters": document.characters,
        "mean_confidence": round(sum(page.confidence for page in seen) / len(seen), 4),
    }
