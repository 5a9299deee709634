"""The product's job types: every one declares what it is given, and its ids are fit for storage keys."""

from __future__ import annotations

import pytest

from jobqueue import queues, worker
from jobqueue.errors import InvalidInput
from jobqueue.job import new_id
from jobqueue.payloads import TASKS, ExportReport, OcrDocument
from jobqueue.registry import plan
from jobqueue.tasks import process_file

GOOD = {"tenant_id": "acme", "file_id": "file-1", "contract_id": "contract-1"}


def test_every_job_type_of_every_queue_declares_its_payload() -> None:
    configured = {(queue.name, job) for queue in queues.load().values() for job in queue.jobs}
    assert {(task.declared.queue, task.declared.function) for task in TASKS} == configured
    for name, queue in queues.load().items():
        assert plan(queue, worker.HANDLERS[name], TASKS).versions.keys() == queue.jobs.keys()


def test_what_the_intake_flow_enqueues_fits_its_declarations() -> None:
    declared = {task.declared.function: task for task in TASKS}
    flow = process_file(
        task_id=new_id("task"), tenant_id="acme", file_id=new_id("file"), contract_id=new_id("contract")
    )
    for step in flow.steps:
        items = [{"first": 1, "last": 8}] if step.each else step.items or [{}]
        for item in items:
            declared[step.function].from_payload({**step.kwargs, **item})


@pytest.mark.parametrize("bad", ["", "..", "../x", "a/b", "a b", "-a", ".a", "a\n", "ä", "a" * 101, 7, None, ["a"]])
def test_an_id_that_could_lead_elsewhere_in_storage_is_refused(bad: object) -> None:
    OcrDocument.from_payload(GOOD)
    for name in GOOD:
        with pytest.raises(InvalidInput, match=f"{name}: "):
            OcrDocument.from_payload(GOOD | {name: bad})


def test_reports_are_written_in_known_formats_and_in_all_of_them_by_default() -> None:
    contract = {"tenant_id": "acme", "contract_id": "contract-1"}
    assert ExportReport.from_payload(contract).formats == ["pdf", "docx"]
    for formats in ([], ["exe"], "pdf", ["pdf"] * 11):
        with pytest.raises(InvalidInput, match="formats"):
            ExportReport.from_payload(contract | {"formats": formats})
