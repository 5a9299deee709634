"""What a file is, told once its text is known: of scans that is only after recognition."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from handlers.documents.kind import first_pages
from jobqueue.ports import FileRecord, Limits, Services
from jobqueue.tasks import DocumentText

KIND_LIMITS: Final = Limits(wall_s=20.0, cpu_s=20)


async def describe(world: Services, file: FileRecord, document: DocumentText) -> None:
    """Add class and language to the record of a file whose ingest couldn't tell them. Run again, it changes nothing.

    Raises as `Sandbox.run`.
    """
    if file.info is None or file.info.document_class is not None or file.info.language is not None:
        return
    texts = first_pages([page.text for page in document.pages])
    found = await world.sandbox.run("handlers.documents.kind:kind_of", texts, limits=KIND_LIMITS)
    async with world.records.unit() as unit:
        now = await unit.get_file(file.tenant_id, file.id)
        if now.info is not None:  # not put into quarantine meanwhile
            await unit.save_file(replace(now, info=now.info.model_copy(update=found)))
