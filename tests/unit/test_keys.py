"""The data model: arq's own names in one layout, one slot a queue in the other."""

from __future__ import annotations

import pytest
from arq import constants
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from jobqueue.broker.keys import FlowKeys, QueueKeys, flow_key, queue_name, valid_id
from jobqueue.job import new_id

OWN = ("wake", "fence", "cooldown", "counters", "workers", "events", "retries", "dead", "dead:index", "outbox")
ids = st.text(max_size=210)


def every_key(keys: QueueKeys, job_id: str) -> list[str]:
    return [
        keys.queue, keys.abort, keys.health_check, *map(keys.own, OWN), keys.job(job_id), keys.in_progress(job_id),
        keys.retry(job_id), keys.result(job_id), keys.progress(job_id), keys.error(job_id), keys.once(job_id),
        keys.checkpoint(job_id), keys.buried(job_id), keys.partial(job_id),
    ]  # fmt: skip


def test_the_plain_layout_is_arqs() -> None:
    keys = QueueKeys("jobqueue:ocr")
    assert keys.queue == "jobqueue:ocr"
    assert keys.job("x") == constants.job_key_prefix + "x"
    assert keys.in_progress("x") == constants.in_progress_key_prefix + "x"
    assert keys.retry("x") == constants.retry_key_prefix + "x"
    assert keys.result("x") == constants.result_key_prefix + "x"
    assert keys.abort == constants.abort_jobs_ss
    assert keys.health_check == "jobqueue:ocr" + constants.health_check_key_suffix


@given(ids.filter(valid_id), st.sampled_from(["ingest", "llm", "export", "ocr", "system"]))
def test_every_key_of_a_queue_lies_in_one_slot_of_a_cluster(job_id: str, queue: str) -> None:
    keys = QueueKeys(queue_name(queue), cluster=True)
    assert len({key_slot(key.encode()) for key in every_key(keys, job_id)}) == 1


@pytest.mark.parametrize("cluster", [False, True])
@given(job_id=ids.filter(valid_id))
def test_no_two_things_share_a_key(cluster: bool, job_id: str) -> None:
    keys = every_key(QueueKeys("jobqueue:ocr", cluster=cluster), job_id)
    assert len(set(keys)) == len(keys)


@given(ids)
def test_a_valid_id_is_one_shell_word_without_a_hash_tag(job_id: str) -> None:
    if valid_id(job_id):
        assert job_id.split() == [job_id]
        assert not set("{}") & set(job_id)
        assert job_id.encode()
        assert len(job_id) <= 200


@pytest.mark.parametrize(
    "job_id", ["", "a b", "a\nb", "{x}", "x}", "x" * 201, "a\0b", "\ud800", "a\u200bb", "a\u2028b"]
)
def test_an_id_that_would_break_a_key_or_a_url_is_refused(job_id: str) -> None:
    assert not valid_id(job_id)


def test_ids_that_we_make_are_valid() -> None:
    assert all(valid_id(new_id(kind)) for kind in ("ingest", "task", "cron"))


def test_flows_spread_over_the_slots_of_a_cluster() -> None:
    assert flow_key("task-1", cluster=False) == "arq:flow:task-1"
    assert len({key_slot(flow_key(f"task-{n}", cluster=True).encode()) for n in range(50)}) > 40


def test_the_keys_of_a_flow_are_four_in_one_slot_of_a_cluster() -> None:
    keys = FlowKeys("task-1", cluster=True).all()
    assert len(set(keys)) == 4
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert FlowKeys("task-1").flow == flow_key("task-1", cluster=False)
