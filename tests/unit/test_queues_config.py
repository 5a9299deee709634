"""``queues.toml``: every mistake is reported with the file, the key and the reason."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from jobqueue.errors import ConfigError
from jobqueue.queues import load, parse
from jobqueue.registry import plan
from jobqueue.retry import Backoff

GOOD: dict[str, Any] = {
    "retry": {"standard": {"backoff": "linear", "base_s": 1.0, "cap_s": 60.0, "max_attempts": 3}},
    "queues": {
        "ocr": {
            "weight": 5,
            "concurrency": 2,
            "jobs": {"scan": {"timeout_s": 60, "retry": "standard", "keep_result_s": 0}},
        }
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    table = data
    for parent in parents:
        table = table.setdefault(parent, {})
    if value is None:
        del table[last]
    else:
        table[last] = value
    return data


def test_a_good_file_becomes_queues_and_policies() -> None:
    (ocr,) = parse(GOOD, "q.toml").values()
    assert (ocr.name, ocr.weight, ocr.concurrency) == ("ocr", 5, 2)
    scan = ocr.jobs["scan"]
    assert (scan.timeout_s, scan.keep_result_s) == (60, 0)
    assert (scan.policy.backoff, scan.policy.max_attempts, scan.policy.cooldown_after) == (Backoff.LINEAR, 3, 10)


def test_the_file_that_comes_along_is_good() -> None:
    queues = load()
    assert {name: queue.weight for name, queue in queues.items()} == {
        "ingest": 10, "llm": 8, "export": 6, "ocr": 5, "system": 3,
    }  # fmt: skip
    assert {job.policy.backoff for queue in queues.values() for job in queue.jobs.values()} == set(Backoff)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("queues.ocr.weight", 0, "queues.ocr.weight"),
        ("queues.ocr.weight", "5", "queues.ocr.weight"),
        ("queues.ocr.weight", float("nan"), "queues.ocr.weight"),
        ("queues.ocr.weight", float("inf"), "queues.ocr.weight"),
        ("queues.ocr.concurrency", 2.5, "queues.ocr.concurrency"),
        ("queues.ocr.concurrency", True, "queues.ocr.concurrency"),
        ("queues.ocr.concurency", 2, "queues.ocr.concurency"),
        ("queues.ocr.concurrency", None, "queues.ocr.concurrency"),
        ("queues.OCR!", {}, "OCR!"),
        ("queues.ocr.jobs.scan.timeout_s", -1, "queues.ocr.jobs.scan.timeout_s"),
        ("queues.ocr.jobs.scan.timeout_s", float("nan"), "queues.ocr.jobs.scan.timeout_s"),
        ("queues.ocr.jobs.scan.keep_result_s", None, "queues.ocr.jobs.scan.keep_result_s"),
        ("queues.ocr.jobs.scan.retry", "nosuch", "there is no policy 'nosuch', but standard"),
        ("retry.standard.backoff", "sometimes", "retry.standard.backoff"),
        ("retry.standard.base_s", 0, "retry.standard.base_s"),
        ("retry.standard.max_attempts", 0, "retry.standard.max_attempts"),
        ("retry.standard.jitter", 1, "retry.standard.jitter"),
        ("queues", {}, "queues"),
        ("extra", 1, "extra"),
    ],
)
def test_a_mistake_is_reported_with_its_file_and_key(path: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed(path, value), "my-queues.toml")
    assert str(caught.value).startswith("my-queues.toml: ")
    assert said in str(caught.value)


def test_a_job_type_belongs_to_one_queue() -> None:
    data = changed("queues.llm", GOOD["queues"]["ocr"])
    with pytest.raises(ConfigError, match=r"queues\.llm\.jobs\.scan: queue 'ocr' has this job type already"):
        parse(data, "q.toml")


@pytest.mark.parametrize("content", [b"[queues", b"\xff\xfe", b"= 1"])
def test_a_file_that_is_not_toml_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not TOML") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JOBQUEUE_QUEUES_FILE") as caught:
        load(tmp_path / "nowhere.toml")
    assert "nowhere.toml" in str(caught.value)


def test_job_types_and_handlers_must_match() -> None:
    async def handler(ctx: object) -> None: ...

    (ocr,) = parse(GOOD, "q.toml").values()
    with pytest.raises(ConfigError, match="scan has no handler; read is not configured"):
        plan(ocr, {"read": handler})
    (function,) = plan(ocr, {"scan": handler}).functions
    assert (function.name, function.timeout_s, function.keep_result_s, function.max_tries) == ("scan", 60, 0, 3)
