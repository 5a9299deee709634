from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from handlers import leftovers
from handlers.system import check_health, expire, resubmit, roll_up_metrics
from jobqueue.errors import Unavailable
from jobqueue.ports import ContractModel, FileRecord, Sandbox, Services, TaskRecord
from jobqueue.records.database import Database
from jobqueue.services.blobs import DirectoryStore
from jobqueue.services.virusscan import NoScanner
from jobqueue.tasks import ocr_file
from jobqueue.views import QueueView
from tests.unit.server_support import MemoryQueue

DAY_S = 86_400
NOT_USED = cast("Any", None)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    records = Database(f"sqlite:///{tmp_path}/jobqueue.db")
    await records.migrate()
    (tmp_path / "tmp").mkdir()
    yield Services(
        blobs=DirectoryStore(tmp_path / "blobs"),
        records=records,
        sandbox=cast("Sandbox", NOT_USED),
        model=cast("ContractModel", NOT_USED),
        scanner=NoScanner(),
        temp_dir=tmp_path / "tmp",
        max_upload_bytes=1,
    )
    await records.close()


def make_old(path: Path, days: float, content: bytes | None = b"x") -> Path:
    """A file, or without content the directory that is there, last written to so many days ago."""
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))
    return path


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


async def test_expire_removes_old_temporary_files_and_keeps_fresh_ones(services: Services) -> None:
    temp = services.temp_dir
    make_old(temp / "old.pdf", 1.1)
    make_old(temp / "job" / "page-1.png", 1.1)
    make_old(temp / "job" / "page-2.png", 0.9)
    (temp / "forsaken").mkdir()
    make_old(temp / "forsaken", 2, content=None)
    found = await expire({"services": services})
    assert {kind: count for kind, count in found.items() if count} == {"temp_files": 2}
    assert tree(temp) == ["job", "job/page-2.png"]


async def test_expire_does_not_follow_links_out_of_the_temporary_directory(services: Services, tmp_path: Path) -> None:
    precious = make_old(tmp_path / "elsewhere" / "precious", 900)
    (services.temp_dir / "folder").symlink_to(precious.parent)
    (services.temp_dir / "file").symlink_to(precious)
    assert (await expire({"services": services}))["temp_files"] == 0
    assert precious.read_bytes() == b"x"


async def test_expire_removes_remains_of_uploads_but_no_object(services: Services, tmp_path: Path) -> None:
    await services.blobs.put_bytes("t/a", b"kept")
    make_old(tmp_path / "blobs" / "t" / "a", 900)
    make_old(tmp_path / "blobs" / ".partial" / "cut-off", 1.1)
    make_old(tmp_path / "blobs" / ".partial" / "arriving", 0)
    assert (await expire({"services": services}))["partial_blobs"] == 1
    assert tree(tmp_path / "blobs") == [".partial", ".partial/arriving", "t", "t/a"]


def uploaded(services: Services, name: str, days: float) -> Path:
    """An object under an upload's key, put so many days ago."""
    assert isinstance(services.blobs, DirectoryStore)
    return make_old(services.temp_dir.parent / "blobs" / "t" / "files" / name / "original", days)


async def add_rows(services: Services, *names: str) -> None:
    async with services.records.unit() as unit:
        for name in names:
            await unit.add_file(
                FileRecord(
                    id=name, tenant_id="t", name="a.pdf", blob_key=f"t/files/{name}/original", size_bytes=1,
                    sha256="0" * 64, state="received", created_at=datetime.now(UTC),
                )
            )  # fmt: skip


async def test_expire_removes_an_upload_whose_rows_were_never_committed_and_no_other_object(services: Services) -> None:
    await add_rows(services, "file-1")
    kept = [uploaded(services, "file-1", 900), uploaded(services, "file-2", 0.9)]
    blobs = services.temp_dir.parent / "blobs"
    kept += [make_old(blobs / "t" / "contracts" / "contract-1" / "text.json", 900), make_old(blobs / "original", 900)]
    orphan = uploaded(services, "file-3", 1.1)
    assert (await expire({"services": services}))["orphan_blobs"] == 1
    assert not orphan.exists()
    assert all(path.exists() for path in kept)


async def test_expire_removes_no_upload_while_the_database_is_away(services: Services, tmp_path: Path) -> None:
    orphan = uploaded(services, "file-1", 2)
    (tmp_path / "file").touch()
    away = replace(services, records=Database(f"sqlite:///{tmp_path}/file/jobqueue.db"))
    with pytest.raises(Unavailable):
        await expire({"services": away})
    assert orphan.exists()


async def test_expire_removes_so_many_uploads_a_run_and_goes_on_in_the_next(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_BATCH", 3)
    monkeypatch.setattr(leftovers, "MAX_REMOVED", 6)
    names = [f"file-{number}" for number in range(20)]
    for name in names:
        uploaded(services, name, 2)
    await add_rows(services, *names[:10])
    removed = [(await expire({"services": services}))["orphan_blobs"] for _ in range(4)]
    assert sum(removed) == 10
    assert max(removed) <= 8, "a batch more than the bound, less one, at most"
    assert removed[-1] == 0
    left = {key async for key in services.blobs.keys("t/files/")}
    assert left == {f"t/files/{name}/original" for name in names[:10]}


async def test_expire_stops_looking_for_uploads_when_its_time_is_over(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(DirectoryStore):
        async def keys(self, prefix: str, *, older_than_s: float | None = None) -> AsyncIterator[str]:
            while True:
                await asyncio.sleep(0)
                yield "t/contracts/contract-1/text.json"

    monkeypatch.setattr(leftovers, "LONGEST_S", 0.05)
    endless = replace(services, blobs=Endless(services.temp_dir.parent / "blobs"))
    assert (await expire({"services": endless}))["orphan_blobs"] == 0


async def test_expire_prunes_tasks_that_finished_more_than_ninety_days_ago(services: Services) -> None:
    now = datetime.now(UTC)
    task = TaskRecord(id="open", tenant_id="t", kind="k", state="queued", created_at=now - timedelta(days=900))
    async with services.records.unit() as unit:
        await unit.add_task(task)
        await unit.add_task(replace(task, id="89", state="failed", finished_at=now - timedelta(days=89)))
        await unit.add_task(replace(task, id="91", state="failed", finished_at=now - timedelta(days=91)))
    assert (await expire({"services": services}))["tasks"] == 1
    assert (await expire({"services": services}))["tasks"] == 0
    async with services.records.unit() as unit:
        assert {left.id for left in await unit.list_tasks("t")} == {"open", "89"}


async def test_expire_does_without_a_temporary_directory(services: Services) -> None:
    services.temp_dir.rmdir()
    assert (await expire({"services": services}))["temp_files"] == 0


async def test_check_health_says_ok_of_every_component_and_leaves_no_probe(services: Services) -> None:
    assert await check_health({"services": services}) == {"database": "ok", "storage": "ok", "disk": "ok"}
    assert [key async for key in services.blobs.keys("")] == []


async def test_check_health_names_everything_that_is_down(services: Services, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    down = replace(
        services,
        records=Database(f"sqlite:///{tmp_path}/file/jobqueue.db"),
        blobs=DirectoryStore(tmp_path / "file" / "blobs"),
        max_upload_bytes=10**18,
    )
    with pytest.raises(Unavailable) as caught:
        await check_health({"services": down})
    database, storage, disk = str(caught.value).split("; ", 2)[0], str(caught.value), str(caught.value)
    assert database.startswith("database: SQLite database")
    assert "storage: storage at" in storage
    assert "disk: " in disk
    assert "should be: free some space" in disk


class Scanner(NoScanner):
    mandatory = True

    def __init__(self, *, well: bool) -> None:
        self.well = well

    async def check(self) -> None:
        if not self.well:
            raise Unavailable("clamd can't be reached")


async def test_check_health_asks_a_scanner_that_must_be_there(services: Services) -> None:
    assert (await check_health({"services": replace(services, scanner=Scanner(well=True))}))["virus scan"] == "ok"
    with pytest.raises(Unavailable, match="virus scan: clamd can't be reached"):
        await check_health({"services": replace(services, scanner=Scanner(well=False))})


async def test_check_health_names_a_missing_temporary_directory(services: Services) -> None:
    services.temp_dir.rmdir()
    with pytest.raises(Unavailable, match=r"^disk: .*No such file or directory"):
        await check_health({"services": services})


async def test_roll_up_metrics_keeps_the_figures_of_each_queue() -> None:
    class TwoQueues(MemoryQueue):
        async def queues(self) -> list[QueueView]:
            return [
                QueueView(name="ocr", waiting=3, deferred=1, running=2, dead=4, workers=1, counters={"succeeded": 9}),
                QueueView(name="llm", waiting=0, deferred=0, running=0, dead=0, workers=0),
            ]

    queue = TwoQueues()
    figures = await roll_up_metrics({"queues": queue})
    assert queue.metrics == [figures]
    assert figures == {
        "ocr": {"waiting": 3, "deferred": 1, "running": 2, "dead": 4, "workers": 1, "succeeded": 9},
        "llm": {"waiting": 0, "deferred": 0, "running": 0, "dead": 0, "workers": 0},
    }


async def test_resubmit_brings_tasks_to_the_queue_whose_submit_was_cut_off(services: Services) -> None:
    queue = MemoryQueue()
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    cut_off, on_its_way, fresh = (
        replace(ocr_file(task_id=name, tenant_id="t", file_id="file-1", contract_id="contract-1"), created_at=at)
        for name, at in (("task-1", long_ago), ("task-2", long_ago), ("task-3", datetime.now(UTC)))
    )
    async with services.records.unit() as unit:
        for flow in (cut_off, on_its_way, fresh):
            await unit.add_task(
                TaskRecord(
                    id=flow.id, tenant_id="t", kind=flow.kind, state="accepted", created_at=flow.created_at,
                    spec=flow.to_data(),
                )
            )  # fmt: skip
    await queue.submit(on_its_way)
    assert await resubmit({"services": services, "queues": queue}) == {"looked_at": 2, "resubmitted": 1}
    assert queue.flows["task-1"] == cut_off
    assert "task-3" not in queue.flows
