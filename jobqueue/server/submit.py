"""The four ways to start a task. Each answers 202 once the task is safe, with where to watch it.

The order keeps the promise that nothing accepted is ever lost: first the file into storage, then all rows in one
transaction, then the queue. A crash between the last two leaves a row in state ``accepted``, which holds the whole
flow; submitting is safe to repeat, so whoever finds the row later may simply submit it.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from jobqueue import intake, tasks
from jobqueue.errors import Conflict, InvalidInput, Unavailable
from jobqueue.flows import Flow
from jobqueue.job import new_id
from jobqueue.payloads import ANALYSIS_FORMATS
from jobqueue.ports import FileRecord, UnitOfWork
from jobqueue.server.context import Caller, Deps, caller, deps
from jobqueue.server.models import AnalyzeRequest, ExportRequest, OcrRequest, read_body
from jobqueue.server.problems import NotQueued
from jobqueue.server.uploads import Upload, receive


@dataclass(frozen=True, slots=True, kw_only=True)
class _Submission:
    flow: Flow
    file_id: str
    contract_id: str

    async def record(self, unit: UnitOfWork, who: Caller) -> None:
        await intake.add_task(unit, self.flow, file_id=self.file_id, contract_id=self.contract_id, actor=who.actor)


async def process_file(request: web.Request) -> web.Response:
    """``POST /api/tasks/files/process``: take a file in and run everything on it."""
    using, who = deps(request), caller(request)
    file_id, contract_id = new_id("file"), new_id("contract")
    upload = await receive(request, f"{who.tenant_id}/files/{file_id}/original")
    flow = tasks.process_file(
        task_id=new_id("task"), tenant_id=who.tenant_id, file_id=file_id, contract_id=contract_id,
        sealed_password=_sealed(using, upload, f"{who.tenant_id}/{file_id}"),
    )  # fmt: skip
    file = FileRecord(
        id=file_id, tenant_id=who.tenant_id, name=upload.name, blob_key=upload.blob.key,
        size_bytes=upload.blob.size_bytes, sha256=upload.blob.sha256, state="received", created_at=flow.created_at,
    )  # fmt: skip
    submission = _Submission(flow=flow, file_id=file_id, contract_id=contract_id)
    # When this fails the object stays: a commit whose answer got lost may have landed, and its file must be there.
    async with using.records.unit() as unit:
        await unit.add_file(file)
        await intake.add_contract(unit, flow, file_id=file_id, contract_id=contract_id)
        await submission.record(unit, who)
    return await _enqueue(using, submission)


def _sealed(using: Deps, upload: Upload, of: str) -> str | None:
    """The upload's password as rows, Redis and workers may have it."""
    if upload.password is None:
        return None
    assert using.seal is not None  # `receive` takes no password otherwise
    return using.seal.seal(upload.password.get_secret_value(), of=of)


async def ocr_file(request: web.Request) -> web.Response:
    """``POST /api/tasks/files/{id}/ocr``: read an accepted file's text again."""
    using, who, file_id = deps(request), caller(request), request.match_info["id"]
    body = await read_body(request, OcrRequest)
    async with using.records.unit() as unit:
        file = await unit.get_file(who.tenant_id, file_id)
        if file.state != intake.ACCEPTED:
            refused = file.state in {"rejected", "quarantined"}
            why = f"was {file.state}: {file.reason}" if refused else "is still being checked: try later"
            raise Conflict(f"file {file_id} {why}")
        contract_id = body.contract_id or new_id("contract")
        flow = tasks.ocr_file(task_id=new_id("task"), tenant_id=who.tenant_id, file_id=file_id, contract_id=contract_id)
        submission = _Submission(flow=flow, file_id=file_id, contract_id=contract_id)
        if body.contract_id is None:
            await intake.add_contract(unit, flow, file_id=file_id, contract_id=contract_id)
        elif (await unit.get_contract(who.tenant_id, contract_id)).file_id != file_id:
            raise InvalidInput(f"contract {contract_id} is of another file than {file_id}: leave contract_id out")
        await submission.record(unit, who)
    return await _enqueue(using, submission)


async def analyze_contract(request: web.Request) -> web.Response:
    """``POST /api/tasks/contracts/analyze``: analyse, summarise and extract again."""
    using, who = deps(request), caller(request)
    body = await read_body(request, AnalyzeRequest)
    async with using.records.unit() as unit:
        contract = await unit.get_contract(who.tenant_id, body.contract_id)
        if contract.text_key is None:
            raise Conflict(f"contract {contract.id} has no text yet: wait until its file has been read")
        flow = tasks.analyze_contract(task_id=new_id("task"), tenant_id=who.tenant_id, contract_id=contract.id)
        submission = _Submission(flow=flow, file_id=contract.file_id, contract_id=contract.id)
        await submission.record(unit, who)
    return await _enqueue(using, submission)


async def export_contract(request: web.Request) -> web.Response:
    """``POST /api/tasks/contracts/export``: write the reports again, or the file's text."""
    using, who = deps(request), caller(request)
    body = await read_body(request, ExportRequest)
    async with using.records.unit() as unit:
        contract = await unit.get_contract(who.tenant_id, body.contract_id)
        if contract.text_key is None and not ANALYSIS_FORMATS.issuperset(body.formats):
            raise Conflict(f"contract {contract.id} has no text yet: wait until its file has been read")
        analysed = None not in (contract.extraction, contract.summary, contract.analysis)
        if not analysed and not ANALYSIS_FORMATS.isdisjoint(body.formats):
            raise Conflict(f"contract {contract.id} is not analysed yet: wait for its task, or start its analysis")
        flow = tasks.export_contract(
            task_id=new_id("task"), tenant_id=who.tenant_id, contract_id=contract.id, formats=sorted(set(body.formats))
        )
        submission = _Submission(flow=flow, file_id=contract.file_id, contract_id=contract.id)
        await submission.record(unit, who)
    return await _enqueue(using, submission)


async def _enqueue(using: Deps, submission: _Submission) -> web.Response:
    task_id = submission.flow.id
    try:
        await using.queue.submit(submission.flow)
    except Unavailable as exc:
        raise NotQueued(task_id) from exc
    links = {
        "status": f"/api/tasks/{task_id}/status",
        "events": f"/api/tasks/{task_id}/events",
        "cancel": f"/api/tasks/{task_id}",
        "contract": f"/api/contracts/{submission.contract_id}",
    }
    body = {
        "task_id": task_id,
        "file_id": submission.file_id,
        "contract_id": submission.contract_id,
        "links": links,
    }
    return web.json_response(body, status=202, headers={"Location": links["status"]})
