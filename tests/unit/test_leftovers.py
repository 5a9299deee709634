"""What nobody will ask for again goes, and nothing else: over real files and a real database."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from handlers import leftovers
from handlers.leftovers import remove_leftovers
from handlers.system import expire
from jobqueue.ports import FileRecord, Services, TaskRecord
from jobqueue.records.database import Database
from jobqueue.services.blobs import DirectoryStore
from jobqueue.services.virusscan import NoScanner
from jobqueue.tasks import DocumentInfo

TENANT = "tenant-1"
NOT_USED = cast("Any", None)
INFO = DocumentInfo(mime_type="application/pdf", extension=".pdf", sha256="0" * 64, size_bytes=1, pages=1)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    records = Database(f"sqlite:///{tmp_path}/jobqueue.db")
    await records.migrate()
    (tmp_path / "tmp").mkdir()
    yield Services(
        blobs=DirectoryStore(tmp_path / "blobs"),
        records=records,
        sandbox=NOT_USED,
        model=NOT_USED,
        scanner=NoScanner(),
        temp_dir=tmp_path / "tmp",
        ocr_cache_days=10,
    )
    await records.close()


async def put(services: Services, key: str, *, days: float) -> Path:
    """An object, put so many days ago."""
    await services.blobs.put_bytes(f"{TENANT}/{key}", b"x")
    assert isinstance(services.blobs, DirectoryStore)
    path = services.blobs.root / TENANT / key
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


async def add_file(services: Services, name: str, *, reading_key: str | None = None, accepted: bool = True) -> None:
    async with services.records.unit() as unit:
        await unit.add_file(
            FileRecord(
                id=name, tenant_id=TENANT, name="a.pdf", blob_key=f"{TENANT}/files/{name}/original", size_bytes=1,
                sha256="0" * 64, state="accepted" if accepted else "received", created_at=datetime.now(UTC),
                info=INFO.model_copy(update={"reading_key": reading_key}) if accepted else None,
            )
        )  # fmt: skip


async def add_task(services: Services, name: str, *, ended_days_ago: float | None) -> None:
    now = datetime.now(UTC)
    row = TaskRecord(id=name, tenant_id=TENANT, kind="k", state="queued", created_at=now - timedelta(days=50))
    if ended_days_ago is not None:
        row = replace(row, state="failed", finished_at=now - timedelta(days=ended_days_ago))
    async with services.records.unit() as unit:
        await unit.add_task(row)


async def test_a_copy_for_reading_goes_where_its_file_is_not_read_by_it(services: Services) -> None:
    await add_file(services, "read", reading_key=f"{TENANT}/files/read/readable")
    await add_file(services, "plain")
    await add_file(services, "refused", accepted=False)
    used = await put(services, "files/read/readable", days=900)
    fresh = await put(services, "files/arriving/readable", days=0.9)
    orphans = [await put(services, f"files/{name}/readable", days=1.1) for name in ("plain", "refused", "unknown")]
    originals = [await put(services, f"files/{name}/original", days=900) for name in ("read", "plain", "refused")]
    found = await remove_leftovers(services)
    assert found == {"orphan_blobs": 0, "orphan_copies": 3, "page_parts": 0}
    assert [path.exists() for path in (used, fresh, *originals)] == [True] * 5
    assert not any(path.exists() for path in orphans)


async def test_pages_of_tasks_that_can_no_longer_be_replayed_go(services: Services) -> None:
    await add_task(services, "failed-long-ago", ended_days_ago=15)
    await add_task(services, "failed-lately", ended_days_ago=13)
    await add_task(services, "waiting", ended_days_ago=None)
    gone = [
        await put(services, f"contracts/c/parts/{task}/1-4.json", days=15) for task in ("failed-long-ago", "forgotten")
    ]
    kept = [
        await put(services, "contracts/c/parts/failed-long-ago/5-8.json", days=13),
        await put(services, "contracts/c/parts/failed-lately/1-4.json", days=40),
        await put(services, "contracts/c/parts/waiting/1-4.json", days=40),
        await put(services, "contracts/c/text.json", days=900),
    ]
    assert (await remove_leftovers(services))["page_parts"] == 2
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


async def test_what_is_written_anew_while_others_are_looked_up_stays(services: Services) -> None:
    path = await put(services, "files/replayed/readable", days=2)

    class Replayed(DirectoryStore):
        async def keys(self, prefix: str, *, older_than_s: float | None = None) -> AsyncIterator[str]:
            async for key in super().keys(prefix, older_than_s=older_than_s):
                os.utime(path)
                yield key

    world = replace(services, blobs=Replayed(services.temp_dir.parent / "blobs"))
    assert (await remove_leftovers(world))["orphan_copies"] == 0
    assert path.exists()


async def test_a_run_removes_so_much_and_the_next_goes_on(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_BATCH", 2)
    monkeypatch.setattr(leftovers, "MAX_REMOVED", 4)
    for number in range(10):
        await put(services, f"contracts/c/parts/task-{number}/1-4.json", days=20)
    assert [(await remove_leftovers(services))["page_parts"] for _ in range(4)] == [4, 4, 2, 0]


async def test_kept_text_goes_after_the_setting_s_days(services: Services) -> None:
    old, young = await put(services, "cache/old.json", days=10.1), await put(services, "cache/young.json", days=9.9)
    found = await expire({"services": services})
    assert found["texts"] == 1
    assert (old.exists(), young.exists()) == (False, True)


async def test_kept_text_goes_at_once_where_none_is_to_be_kept(services: Services) -> None:
    young = await put(services, "cache/young.json", days=0.01)
    assert (await expire({"services": replace(services, ocr_cache_days=0)}))["texts"] == 1
    assert not young.exists()
