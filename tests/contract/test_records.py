"""Every adapter of `ports.Records` passes this suite: what is written, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from jobqueue.errors import Conflict, NotFound
from jobqueue.ports import ApiKeyRecord, AuditEntry
from jobqueue.records.database import Database
from jobqueue.records.models import NaiveTimestamp
from tests.contract.records_samples import (
    CONTRACT,
    FILE,
    INFO,
    NOW,
    SCAN,
    SUMMARY,
    TASK,
    TENANT,
    add_contract,
)

# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_comes_back_as_it_was_added_and_as_it_was_saved(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_file(FILE)
    async with records.unit() as unit:
        assert await unit.get_file(TENANT, FILE.id) == FILE
        saved = replace(FILE, state="accepted", info=INFO, reason="seen", scan=SCAN)
        await unit.save_file(saved)
    async with records.unit() as unit:
        assert await unit.get_file(TENANT, FILE.id) == saved


async def test_files_are_found_by_their_bytes_and_state_within_their_tenant(records: Database) -> None:
    infected = replace(FILE, id="file-2", state="quarantined", scan=SCAN)
    older = replace(infected, id="file-3", created_at=NOW - timedelta(days=1))
    async with records.unit() as unit:
        await unit.add_file(FILE)
        assert await unit.find_files(TENANT, FILE.sha256, state="quarantined") == []
        await unit.add_file(infected)
        await unit.add_file(older)
        assert await unit.find_files(TENANT, FILE.sha256, state="quarantined") == [older, infected]
        assert await unit.find_files(TENANT, FILE.sha256, state="received") == [FILE]
        assert await unit.find_files(TENANT, "cd" * 32, state="quarantined") == []
        assert await unit.find_files("tenant-2", FILE.sha256, state="quarantined") == []


async def test_the_first_accepted_file_with_the_same_bytes_is_found_within_its_tenant(records: Database) -> None:
    accepted = replace(FILE, state="accepted", info=INFO)
    async with records.unit() as unit:
        await unit.add_file(replace(FILE, id="file-0", created_at=NOW - timedelta(hours=2)))  # not accepted
        await unit.add_file(replace(accepted, id="file-1a", created_at=NOW - timedelta(minutes=1)))
        await unit.add_file(replace(accepted, id="file-1b", created_at=NOW))
        await unit.add_file(replace(accepted, id="file-1c", sha256="cd" * 32, created_at=NOW - timedelta(hours=1)))
        new = replace(FILE, id="file-2", created_at=NOW)
        await unit.add_file(new)
        twin = await unit.find_accepted_twin(new)
        assert twin is not None
        assert (twin.id, twin.info) == ("file-1a", INFO)
        second = replace(accepted, id="file-1b", created_at=NOW)
        assert await unit.find_accepted_twin(second) == twin
        assert await unit.find_accepted_twin(twin) is None
        assert await unit.find_accepted_twin(replace(new, tenant_id="tenant-2")) is None


async def test_the_blobs_that_files_name_are_found_by_tenant_and_file(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_file(FILE)
        await unit.add_file(replace(FILE, id="file-2", blob_key="another"))
        await unit.add_file(replace(FILE, id="file-3", blob_key="not asked for"))
        asked = [(TENANT, FILE.id), (TENANT, "file-2"), (TENANT, "file-9"), ("tenant-2", "file-3")]
        assert await unit.named_blobs(asked) == {FILE.blob_key, "another"}
        assert await unit.named_blobs([]) == set()
        assert await unit.named_blobs([(TENANT, f"file-{n}") for n in range(500)]) == {
            FILE.blob_key, "another", "not asked for",
        }  # fmt: skip


async def test_a_copy_made_for_reading_is_named_beside_its_upload(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_file(replace(FILE, info=INFO.model_copy(update={"reading_key": "copy"})))
        await unit.add_file(replace(FILE, id="file-2", blob_key="read as it is", info=INFO))
        asked = [(TENANT, FILE.id), (TENANT, "file-2")]
        assert await unit.named_blobs(asked) == {FILE.blob_key, "copy", "read as it is"}


async def test_a_task_comes_back_with_its_flow_and_times_in_utc(records: Database) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))
    async with records.unit() as unit:
        await unit.add_task(replace(TASK, created_at=elsewhere))
    async with records.unit() as unit:
        found = await unit.get_task(TENANT, TASK.id)
    assert found == TASK
    assert found.created_at.tzinfo is UTC


async def test_a_time_without_a_zone_is_refused(records: Database) -> None:
    with pytest.raises(NaiveTimestamp, match="give it a time zone"):
        async with records.unit() as unit:
            await unit.add_file(replace(FILE, created_at=datetime(2026, 3, 1)))  # noqa: DTZ001  # the point


async def test_an_id_can_be_added_once_and_the_unit_goes_on_after_the_conflict(records: Database) -> None:
    key = ApiKeyRecord(id="key-1", tenant_id=TENANT, name="ci", sha256="cd" * 32, created_at=NOW)
    async with records.unit() as unit:
        await unit.add_file(FILE)
        await unit.add_contract(CONTRACT)
        await unit.add_task(TASK)
        await unit.add_api_key(key)
    async with records.unit() as unit:
        with pytest.raises(Conflict, match="file file-1 exists already"):
            await unit.add_file(FILE)
        with pytest.raises(Conflict, match="contract contract-1 exists already"):
            await unit.add_contract(CONTRACT)
        with pytest.raises(Conflict, match="task task-1 exists already"):
            await unit.add_task(TASK)
        with pytest.raises(Conflict, match="API key key-2 exists already"):
            await unit.add_api_key(replace(key, id="key-2"))  # one secret, two keys
        await unit.add_file(replace(FILE, id="file-2"))
    async with records.unit() as unit:
        assert (await unit.get_file(TENANT, "file-2")).id == "file-2"


async def test_a_row_of_another_tenant_is_as_good_as_missing(records: Database) -> None:
    await add_contract(records)
    async with records.unit() as unit:
        await unit.add_task(TASK)
    stranger = "tenant-2"
    async with records.unit() as unit:
        with pytest.raises(NotFound, match="there is no file file-1"):
            await unit.get_file(stranger, FILE.id)
        with pytest.raises(NotFound):
            await unit.save_file(replace(FILE, tenant_id=stranger, state="rejected"))
        with pytest.raises(NotFound, match="there is no contract contract-1"):
            await unit.get_contract(stranger, CONTRACT.id)
        with pytest.raises(NotFound):
            await unit.save_contract_part(stranger, CONTRACT.id, text_key="stolen")
        with pytest.raises(NotFound, match="there is no task task-1"):
            await unit.get_task(stranger, TASK.id)
        with pytest.raises(NotFound):
            await unit.add_contract(replace(CONTRACT, tenant_id=stranger))  # of a file that isn't its own
        await unit.finish_task(stranger, TASK.id, state="failed", error="not yours", at=NOW)
        assert await unit.list_tasks(stranger) == []
        assert await unit.audit_trail(stranger) == []
    async with records.unit() as unit:
        assert await unit.get_file(TENANT, FILE.id) == FILE
        assert await unit.get_contract(TENANT, CONTRACT.id) == CONTRACT
        assert await unit.get_task(TENANT, TASK.id) == TASK


@pytest.mark.parametrize("hostile", ["' OR 1=1 --", "a\0b", "\ud800", "x" * 100_000, ""])
async def test_hostile_ids_find_nothing(records: Database, hostile: str) -> None:
    await add_contract(records)
    async with records.unit() as unit:
        with pytest.raises(NotFound):
            await unit.get_file(hostile, FILE.id)
        with pytest.raises(NotFound):
            await unit.get_file(TENANT, hostile)
        assert await unit.find_api_key(hostile) is None


# ── contracts ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_parts_that_are_not_named_stay(records: Database) -> None:
    await add_contract(records)
    async with records.unit() as unit:
        await unit.save_contract_part(TENANT, CONTRACT.id, text_key="a", summary=SUMMARY, reports={"pdf": "one"})
        await unit.save_contract_part(TENANT, CONTRACT.id, reports={"docx": "two", "pdf": "three"})
        await unit.save_contract_part(TENANT, CONTRACT.id)
    async with records.unit() as unit:
        found = await unit.get_contract(TENANT, CONTRACT.id)
    assert found == replace(CONTRACT, text_key="a", summary=SUMMARY, reports={"docx": "two", "pdf": "three"})


async def test_a_part_that_does_not_exist_is_a_type_error(records: Database) -> None:
    await add_contract(records)
    async with records.unit() as unit:
        with pytest.raises(TypeError, match="a contract has no part file_id, verdict"):
            await unit.save_contract_part(TENANT, CONTRACT.id, verdict="fine", file_id="file-2")


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tasks_are_listed_newest_first_and_boundedly(records: Database) -> None:
    async with records.unit() as unit:
        for minute in (1, 3, 2):
            await unit.add_task(replace(TASK, id=f"task-{minute}", created_at=NOW + timedelta(minutes=minute)))
        await unit.add_task(replace(TASK, id="task-9", tenant_id="tenant-2"))
    async with records.unit() as unit:
        assert [task.id for task in await unit.list_tasks(TENANT)] == ["task-3", "task-2", "task-1"]
        assert [task.id for task in await unit.list_tasks(TENANT, limit=2)] == ["task-3", "task-2"]
        assert await unit.list_tasks(TENANT, limit=-1) == []


LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        ("succeeded", "failed", "succeeded"),
        ("succeeded", "succeeded", "succeeded"),
        ("failed", "cancelled", "failed"),
        ("cancelled", "succeeded", "cancelled"),
        ("failed", "failed", "failed"),
    ],
)
async def test_the_first_end_of_a_task_stays(records: Database, first: str, second: str, stays: str) -> None:
    async with records.unit() as unit:
        await unit.add_task(TASK)
    for state, error, at in ((first, "first", NOW), (second, "second", LATER)):
        async with records.unit() as unit:
            await unit.finish_task(TENANT, TASK.id, state=state, error=error, at=at)
    async with records.unit() as unit:
        assert await unit.get_task(TENANT, TASK.id) == replace(TASK, state=stays, error="first", finished_at=NOW)


async def test_a_failed_task_may_succeed_when_it_is_replayed(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_task(TASK)
        await unit.finish_task(TENANT, TASK.id, state="failed", error="boom", at=NOW)
        await unit.finish_task(TENANT, TASK.id, state="succeeded", error=None, at=LATER)
    async with records.unit() as unit:
        assert await unit.get_task(TENANT, TASK.id) == replace(TASK, state="succeeded", finished_at=LATER)


async def test_a_reopened_task_has_no_end_until_it_finishes_once_more(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_task(TASK)
        await unit.finish_task(TENANT, TASK.id, state="succeeded", error=None, at=NOW)
        await unit.reopen_task(TENANT, TASK.id)
        assert await unit.get_task(TENANT, TASK.id) == replace(TASK, state="accepted")
        assert [task.id for task in await unit.unfinished_tasks(created_before=LATER)] == [TASK.id]
        await unit.finish_task(TENANT, TASK.id, state="failed", error="boom", at=LATER)
        assert (await unit.get_task(TENANT, TASK.id)).state == "failed"
        with pytest.raises(NotFound):
            await unit.reopen_task("stranger", TASK.id)


async def test_the_end_of_an_unknown_task_is_ignored(records: Database) -> None:
    async with records.unit() as unit:
        await unit.finish_task(TENANT, "task-404", state="failed", error="boom", at=NOW)
        assert await unit.list_tasks(TENANT) == []


async def test_no_error_message_keeps_a_task_from_ending(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_task(TASK)
        await unit.finish_task(TENANT, TASK.id, state="failed", error="a\0b\ud800" + "x" * 1_000_000, at=NOW)
    async with records.unit() as unit:
        error = (await unit.get_task(TENANT, TASK.id)).error
    assert error is not None
    assert error.startswith("a\ufffdb\ufffdx")
    assert len(error) == 16_000


async def test_unfinished_tasks_of_every_tenant_come_oldest_first(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_task(replace(TASK, id="younger", created_at=NOW - timedelta(minutes=1)))
        await unit.add_task(replace(TASK, id="older", tenant_id="another", created_at=NOW - timedelta(minutes=2)))
        await unit.add_task(replace(TASK, id="ended", created_at=NOW - timedelta(days=1), finished_at=NOW))
        await unit.add_task(replace(TASK, id="fresh", created_at=NOW))
    async with records.unit() as unit:
        assert [task.id for task in await unit.unfinished_tasks(created_before=NOW)] == ["older", "younger"]
        assert [task.id for task in await unit.unfinished_tasks(created_before=NOW, limit=1)] == ["older"]


async def test_prune_takes_the_long_finished_tasks_only(records: Database) -> None:
    async with records.unit() as unit:
        await unit.add_task(replace(TASK, id="open", created_at=NOW - timedelta(days=900)))
        await unit.add_task(replace(TASK, id="old", state="failed", finished_at=NOW - timedelta(seconds=1)))
        await unit.add_task(replace(TASK, id="new", state="failed", finished_at=NOW))
    async with records.unit() as unit:
        assert await unit.prune(finished_before=NOW) == 1
        assert await unit.prune(finished_before=NOW) == 0
        assert {task.id for task in await unit.list_tasks(TENANT)} == {"open", "new"}


# ── audit log and API keys ───────────────────────────────────────────────────────────────────────────────────────────


async def test_the_audit_trail_is_newest_first_with_equal_times_in_order_of_writing(records: Database) -> None:
    entries = [
        AuditEntry(tenant_id=TENANT, actor="key:1", action=action, subject="file-1", at=at, detail={"n": action})
        for action, at in (("a", NOW), ("b", NOW), ("c", NOW - timedelta(days=1)))
    ]
    async with records.unit() as unit:
        for entry in entries:
            await unit.audit(entry)
    async with records.unit() as unit:
        assert await unit.audit_trail(TENANT) == [entries[1], entries[0], entries[2]]
        assert await unit.audit_trail(TENANT, limit=1) == [entries[1]]


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log"])
async def test_the_database_itself_refuses_to_change_the_audit_log(records: Database, statement: str) -> None:
    entry = AuditEntry(tenant_id=TENANT, actor="key:1", action="a", subject="file-1", at=NOW)
    async with records.unit() as unit:
        await unit.audit(entry)
    with pytest.raises(Exception, match="append-only"):
        async with records._engine.begin() as connection:
            await connection.execute(text(statement))
    async with records.unit() as unit:
        assert await unit.audit_trail(TENANT) == [entry]


async def test_an_api_key_is_found_by_its_hash_until_it_is_revoked(records: Database) -> None:
    key = ApiKeyRecord(id="key-1", tenant_id=TENANT, name="ci", sha256="cd" * 32, created_at=NOW)
    revoked = replace(key, id="key-2", sha256="ef" * 32, revoked_at=NOW)
    operators = replace(key, id="key-3", sha256="01" * 32, role="operator")
    async with records.unit() as unit:
        await unit.add_api_key(key)
        await unit.add_api_key(revoked)
        await unit.add_api_key(operators)
    async with records.unit() as unit:
        assert await unit.find_api_key(key.sha256) == key
        assert await unit.find_api_key(operators.sha256) == operators
        assert await unit.find_api_key(revoked.sha256) is None
        assert await unit.find_api_key("00" * 32) is None
