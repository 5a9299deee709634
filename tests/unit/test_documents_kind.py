"""Kind and language of a document: by its text at ingest, after recognition where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.documents.kind import kind_of
from handlers.ingest import ingest_document
from handlers.ocr import ocr_document
from jobqueue.tasks import DocumentInfo
from tests.corpus.traps import word
from tests.unit import hostile_files as files
from tests.unit.documents_support import CONTRACT, FILE, TENANT, World

LEASE = """RESIDENTIAL LEASE AGREEMENT
This lease is made by the Landlord and the Tenant, who shall pay the base rent
for the premises on the first day of each month, and a security deposit of
$2,000.00, which the Landlord holds for as long as the Tenant is in the premises."""
MIETVERTRAG = """MIETVERTRAG
Der Vermieter überlässt dem Mieter die Wohnung mit allen Räumen und dem Keller.
Die Miete ist zu Beginn des Monats zu zahlen, und der Mieter trägt die Kosten für
das Wasser und die Heizung. Eine Kaution von 2.000 Euro wird nicht verzinst."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def ingested(world: World, data: bytes, name: str) -> DocumentInfo:
    world.upload(data, name)
    await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    assert world.file.info is not None
    return world.file.info


@pytest.mark.parametrize(
    ("data", "name"),
    [(files.text_pdf([LEASE]), "a.pdf"), (LEASE.encode(), "a.txt"), (word(LEASE), "a.docx")],
)
async def test_a_document_with_text_of_its_own_is_known_at_ingest(world: World, data: bytes, name: str) -> None:
    info = await ingested(world, data, name)
    assert (info.document_class, info.language) == ("lease", "en")
    assert info.class_confidence > 0.8


async def test_a_document_in_another_language_has_that_and_no_class(world: World) -> None:
    info = await ingested(world, MIETVERTRAG.encode(), "vertrag.txt")
    assert (info.document_class, info.class_confidence, info.language) == (None, 0.0, "de")


async def test_a_scan_is_unknown_until_its_text_is_known(world: World) -> None:
    scan = files.picture(files.print_page(LEASE), "PNG", dpi=(200, 200))
    before = await ingested(world, scan, "scan.png")
    assert (before.document_class, before.language) == (None, None)
    for _ in range(2):
        await ocr_document(world.ctx(), tenant_id=TENANT, file_id=FILE, contract_id=CONTRACT)
        after = world.file.info
        assert after is not None
        assert (after.document_class, after.language) == ("lease", "en")
        assert after.model_copy(update={"document_class": None, "class_confidence": 0.0, "language": None}) == before
    assert world.sandbox.calls.count("handlers.documents.kind:kind_of") == 1


async def test_a_layer_of_nonsense_tells_nothing(world: World) -> None:
    info = await ingested(world, files.garbled_scan_pdf(), "scan.pdf")
    assert (info.document_class, info.language) == (None, None)


@pytest.mark.parametrize("texts", [[], [""], ["Lot 7"], ["x" * 50_000_000], ["\0 \ufffd" * 9_000] * 5_000])
def test_text_that_tells_nothing_is_no_kind_and_costs_nothing(texts: list[str]) -> None:
    assert kind_of(texts) == {"document_class": None, "class_confidence": 0.0, "language": None}
