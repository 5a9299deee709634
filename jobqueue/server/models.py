"""Bodies of requests, checked as they come in, and the one answer that is more than a port's own model."""

from __future__ import annotations

import asyncio
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobqueue.errors import InvalidInput
from jobqueue.payloads import EXTENSIONS, ReportFormat
from jobqueue.server.context import deps
from jobqueue.views import TaskView

ID: str = r"[0-9a-z]{26}(?:\.[0-9]{1,5}){0,3}"
"""What follows the kind and the hyphen in every id, as a regular expression for routes and models.

The numbers are those of files that were unpacked from others."""

ContractId = Annotated[str, Field(pattern=f"^contract-{ID}$")]


class Body(BaseModel):
    """Base of request bodies: a field nobody knows is a spelling mistake, and said so."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OcrRequest(Body):
    """Read a file again: for the contract named, or for a new one."""

    contract_id: ContractId | None = None


class AnalyzeRequest(Body):
    """Analyse, summarise and extract a contract whose text is there."""

    contract_id: ContractId


class ReplayRequest(Body):
    """Do a task again: the whole, or from a step on; or only what failed of it."""

    step: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = None
    failed_only: bool = False


class ExportRequest(Body):
    """Write reports of an analysed contract, or the text of its file."""

    contract_id: ContractId
    formats: list[ReportFormat] = Field(default=["pdf", "docx"], min_length=1, max_length=len(EXTENSIONS))


class TaskItem(TaskView):
    """A task in a list, with the file and contract it is about."""

    file_id: str | None
    contract_id: str | None


BodyT = TypeVar("BodyT", bound=Body)


async def read_body(request: web.Request, model: type[BodyT]) -> BodyT:
    """The request's JSON body as ``model``; no body at all is an empty object.

    Raises:
        InvalidInput: not JSON, or not of that shape; the message names each field with the reason.
        web.HTTPException: 408 too slow, 413 too long, 415 not declared as JSON.
    """
    try:
        async with asyncio.timeout(deps(request).limits.idle_timeout_s):
            raw = await request.read()  # bounded by the application's client_max_size
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body took too long to arrive: send it again") from None
    if raw and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send the body as JSON, with 'Content-Type: application/json'")
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults[:10])
        raise InvalidInput(f"the request's body is not as expected: {said}") from None
