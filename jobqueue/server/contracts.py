"""What came out: a contract's facts, summary and analysis, and its reports as files."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Any, Final, cast
from urllib.parse import quote

from aiohttp import web

from jobqueue.errors import NotFound
from jobqueue.payloads import ANALYSIS_FORMATS, EXTENSIONS, ReportFormat
from jobqueue.ports import ContractRecord, FileRecord
from jobqueue.server.context import caller, deps
from jobqueue.server.streams import closing

_MIME_TYPES: Final[dict[ReportFormat, str]] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "hocr": "text/html; charset=utf-8",
    "alto": "application/xml",
    "searchable_pdf": "application/pdf",
    "pdfa": "application/pdf",
}
# Whoever opens one in the browser all the same: it runs nothing, loads nothing, and is of no origin.
_CSP: Final = "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def report_link(contract_id: str, fmt: str) -> str:
    """Where a report is downloaded."""
    return f"/api/contracts/{contract_id}/reports/{fmt}"


def _file_data(file: FileRecord) -> dict[str, Any]:
    return {
        "id": file.id,
        "name": file.name,
        "state": file.state,
        "reason": file.reason,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "info": file.info.model_dump(mode="json") if file.info else None,
        "scan": file.scan.model_dump(mode="json") if file.scan else None,
    }


def _contract_data(contract: ContractRecord, file: FileRecord) -> dict[str, Any]:
    parts = {"extraction": contract.extraction, "summary": contract.summary, "analysis": contract.analysis}
    return {
        "id": contract.id,
        "created_at": contract.created_at.isoformat(),
        "file": _file_data(file),
        **{name: part.model_dump(mode="json") if part else None for name, part in parts.items()},
        "usage": {step: usage.model_dump(mode="json") for step, usage in contract.usage.items()},
        "reports": {fmt: report_link(contract.id, fmt) for fmt in sorted(contract.reports)},
    }


async def contract(request: web.Request) -> web.Response:
    """``GET /api/contracts/{id}``: everything known so far; parts whose step hasn't run are null."""
    tenant_id = caller(request).tenant_id
    async with deps(request).records.unit() as unit:
        record = await unit.get_contract(tenant_id, request.match_info["id"])
        file = await unit.get_file(tenant_id, record.file_id)
    return web.json_response(_contract_data(record, file))


async def report(request: web.Request) -> web.StreamResponse:
    """``GET /api/contracts/{id}/reports/{format}``: the report as an attachment, streamed."""
    using, tenant_id = deps(request), caller(request).tenant_id
    fmt = cast("ReportFormat", request.match_info["format"])  # the route lets no other through
    async with using.records.unit() as unit:
        record = await unit.get_contract(tenant_id, request.match_info["id"])
        file = await unit.get_file(tenant_id, record.file_id)
    key = record.reports.get(fmt)
    if key is None:
        raise NotFound(f"contract {record.id} has no {fmt} report yet: export it first")
    kind = "report" if fmt in ANALYSIS_FORMATS else "text"
    plain = f"{kind}.{EXTENSIONS[fmt]}"
    name = f"{PurePosixPath(file.name).stem} {plain}"
    response = web.StreamResponse(
        headers={
            "Content-Type": _MIME_TYPES[fmt],
            # RFC 6266: the plain name for old clients, the real one percent-encoded, so that no byte of it is syntax.
            "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Security-Policy": _CSP,
        }
    )
    async with closing(using.blobs.stream(key)) as chunks:
        async for chunk in chunks:
            if not response.prepared:  # only now is it known that the object is there
                await response.prepare(request)
            async with asyncio.timeout(using.limits.idle_timeout_s):
                await response.write(chunk)
    return response
