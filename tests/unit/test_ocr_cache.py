"""The text of pages is read once for the same bytes, tenant, settings and engines."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers import ocr_cache
from handlers.ingest import ingest_document
from handlers.ocr import ocr_document, ocr_pages
from jobqueue.errors import Unavailable
from jobqueue.ports import Blob
from jobqueue.tasks import DocumentText
from tests.unit import hostile_files as hostile
from tests.unit.documents_support import CONTRACT, FILE, TENANT, World

IDS = {"tenant_id": TENANT, "file_id": FILE, "contract_id": CONTRACT}
TEXT_KEY = f"{TENANT}/contracts/{CONTRACT}/text.json"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await upload(world, hostile.text_pdf([hostile.PROSE] * 3))
    return world


async def upload(world: World, data: bytes, name: str = "offer.pdf") -> None:
    world.upload(data, name)
    await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    world.sandbox.calls.clear()


async def read(world: World, **options: Any) -> bool:
    """Read the whole file; whether that was spared."""
    before = len(world.sandbox.calls)
    answer = await ocr_document(world.ctx(**options), **IDS)
    reused = bool(answer.get("reused", False))
    assert reused == (len(world.sandbox.calls) == before)
    return reused


def kept(world: World) -> list[str]:
    return [key for key in world.blobs.objects if key.startswith(f"{TENANT}/{ocr_cache.KIND}/")]


async def test_the_same_bytes_are_read_once_and_the_text_is_the_same(world: World) -> None:
    assert not await read(world)
    first = world.blobs.objects.pop(TEXT_KEY)
    world.reports.clear()
    assert await read(world)
    assert world.blobs.objects[TEXT_KEY] == first
    assert world.reports == [(3, 3, "3 pages, as read before")]


async def test_another_upload_of_the_same_bytes_under_another_name_is_the_same_file(world: World) -> None:
    await read(world)
    await upload(world, hostile.text_pdf([hostile.PROSE] * 3), "the same.pdf")
    assert await read(world)


async def test_other_bytes_are_read(world: World) -> None:
    await read(world)
    await upload(world, hostile.text_pdf([hostile.PROSE, hostile.PROSE, "Another page, about a garage."]))
    assert not await read(world)


@pytest.mark.parametrize(
    "options", [{"text_engine": "pypdfium2"}, {"ocr_languages": "eng"}, {"ocr_engine": "tesseract"}]
)
async def test_other_settings_are_another_reading(world: World, options: dict[str, str]) -> None:
    await read(world)
    assert not await read(world, **options)
    assert await read(world, **options)


async def test_a_changed_reading_code_or_engine_is_another_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(world)
    with monkeypatch.context() as patch:
        patch.setattr(ocr_cache, "READING", ocr_cache.READING + 1)
        assert not await read(world)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: f"{name} of tomorrow")
        assert not await read(world)
    assert await read(world)


async def test_another_tenant_finds_nothing(world: World) -> None:
    await read(world)
    rows = world.records.rows
    rows.files["tenant-2", FILE] = replace(rows.files[TENANT, FILE], tenant_id="tenant-2")
    rows.contracts["tenant-2", CONTRACT] = replace(rows.contracts[TENANT, CONTRACT], tenant_id="tenant-2")
    answer = await ocr_document(world.ctx(), **IDS | {"tenant_id": "tenant-2"})
    assert "reused" not in answer
    assert {key.partition("/")[0] for key in world.blobs.objects if "/cache/" in key} == {TENANT, "tenant-2"}


async def test_ranges_of_pages_are_kept_by_themselves(world: World) -> None:
    ranges = [(1, 2), (1, 2), (2, 3)]
    answers = [await ocr_pages(world.ctx(), **IDS, first=first, last=last) for first, last in ranges]
    assert ["reused" in answer for answer in answers] == [False, True, False]
    for answer, (first, last) in zip(answers, ranges, strict=True):
        part = DocumentText.model_validate_json(world.blobs.objects[answer["part"]])
        assert [page.number for page in part.pages] == list(range(first, last + 1))


@pytest.mark.parametrize("damage", [b"", b"{", b'{"pages": []}', b'{"pages": [{"number": 1}]}'])
async def test_a_damaged_text_is_read_anew_and_replaced(world: World, damage: bytes) -> None:
    await read(world)
    (key,) = kept(world)
    world.blobs.objects[key] = damage
    assert not await read(world)
    assert await read(world)


async def test_a_document_with_an_unreadable_page_is_read_again(world: World) -> None:
    await upload(world, hostile.picture_beside_print_tiff(), "offer.tiff")
    assert not await read(world)
    assert kept(world) == []


async def test_nothing_is_kept_where_the_setting_is_no_days(world: World) -> None:
    assert not await read(world, ocr_cache_days=0)
    assert kept(world) == []


async def test_a_storage_that_takes_no_more_costs_only_the_next_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = world.blobs.put_bytes

    async def full(key: str, data: bytes) -> Blob:
        if "/cache/" in key:
            raise Unavailable("the disk is full")
        return await put(key, data)

    monkeypatch.setattr(type(world.blobs), "put_bytes", staticmethod(full))
    assert not await read(world)
    assert TEXT_KEY in world.blobs.objects


async def test_a_copy_made_for_reading_is_told_apart_by_its_own_bytes(world: World) -> None:
    await read(world)
    assert world.file.info is not None
    key = f"{TENANT}/files/{FILE}/readable"
    info = world.file.info.model_copy(update={"copy_made": "decrypted", "reading_key": key})
    world.records.rows.files[TENANT, FILE] = replace(world.file, info=info)
    world.blobs.objects[key] = hostile.text_pdf([hostile.PROSE] * 3 + ["", ""])
    assert not await read(world)
    assert await read(world)
    world.blobs.objects[key] = hostile.text_pdf([hostile.PROSE] * 4)
    assert not await read(world)


def test_engines_that_are_missing_have_no_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ocr_cache.reading_engines("no-such-engine", "tesseract") == {
        "no-such-engine": None,
        "pillow": importlib.metadata.version("pillow"),
    }


def test_the_program_is_told_by_its_version_and_the_data_by_its_size() -> None:
    found = ocr_cache.reading_engines("pymupdf", "tesseract")
    assert found["tesseract"].startswith("tesseract ")
    assert all(size > 0 for _, size in found["languages"])
    assert "tesseract" not in ocr_cache.reading_engines("pymupdf", "tesserocr")
