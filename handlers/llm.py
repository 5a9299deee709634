"""The llm queue: facts, summary and analysis of a contract whose text has been read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from handlers.answers import ModelT, Question, answered
from handlers.context import Ctx, progress, services
from jobqueue.errors import InvalidInput
from jobqueue.ports import AuditEntry
from jobqueue.tasks import Analysis, DocumentText, Extraction, Summary

MAX_TEXT_BYTES: Final = 64_000_000
_PAST: Final = {"extract": "extracted", "summarise": "summarised", "analyse": "analysed"}

_EXTRACT: Final = Question(step="extract", answer=Extraction, ask=lambda model, text: model.extract(text))
_SUMMARISE: Final = Question(step="summarise", answer=Summary, ask=lambda model, text: model.summarise(text))
_ANALYSE: Final = Question(step="analyse", answer=Analysis, ask=lambda model, text: model.analyse(text))


async def extract_terms(ctx: Ctx, *, tenant_id: str, contract_id: str) -> dict[str, Any]:
    """Read the contract's facts and keep them with it.

    Returns:
        ``document_class`` and ``facts``, each with kind, value, page and confidence.

    Raises:
        InvalidInput: the contract has no text yet, or the text is not what OCR writes.
        NotFound: no such contract of this tenant.
        Transient, RefusedRequest: as the provider says.
    """
    found = await _run(ctx, tenant_id, contract_id, _EXTRACT, part="extraction")
    facts = [
        {"kind": fact.kind, "value": fact.value, "page": fact.quote.page, "confidence": fact.confidence}
        for fact in found.facts
    ]
    return {"document_class": found.document_class, "facts": facts}


async def summarise_contract(ctx: Ctx, *, tenant_id: str, contract_id: str) -> dict[str, Any]:
    """Summarise the contract; returns the summary's length and its number of key points. Raises as `extract_terms`."""
    found = await _run(ctx, tenant_id, contract_id, _SUMMARISE, part="summary")
    return {"characters": len(found.text), "key_points": len(found.key_points)}


async def analyse_contract(ctx: Ctx, *, tenant_id: str, contract_id: str) -> dict[str, Any]:
    """Check the contract's clauses; returns counts of clauses, missing ones and findings. Raises as `extract_terms`."""
    found = await _run(ctx, tenant_id, contract_id, _ANALYSE, part="analysis")
    present = sum(clause.present for clause in found.clauses)
    return {"clauses": present, "missing": len(found.clauses) - present, "findings": len(found.findings)}


async def _run(ctx: Ctx, tenant_id: str, contract_id: str, question: Question[ModelT], *, part: str) -> ModelT:
    """Load the text, ask the provider unless the answer is there, keep it with the contract.

    Running it again replaces the same part with the same answer, so a job that is retried does no harm and costs no
    further call.
    """
    model, records, step = services(ctx).model, services(ctx).records, question.step
    await progress(ctx, 0, 2, "reading the text")
    text = await _text(ctx, tenant_id, contract_id)
    await progress(ctx, 1, 2, f"asking {model.name}")
    answer, usage = await answered(
        question, model, text, blobs=services(ctx).blobs, tenant_id=tenant_id, contract_id=contract_id
    )
    entry = AuditEntry(
        tenant_id=tenant_id,
        actor="worker:llm",
        action=f"contract.{_PAST[step]}",
        subject=contract_id,
        at=datetime.now(UTC),
        detail={"model": model.name},
    )
    async with records.unit() as unit:
        await unit.save_contract_part(tenant_id, contract_id, **{part: answer}, usage={step: usage})
        await unit.audit(entry)
    await progress(ctx, 2, 2, "done")
    return answer


async def _text(ctx: Ctx, tenant_id: str, contract_id: str) -> DocumentText:
    async with services(ctx).records.unit() as unit:
        contract = await unit.get_contract(tenant_id, contract_id)
    if contract.text_key is None:
        raise InvalidInput(f"contract {contract_id} has no text yet: run OCR on its file first")
    data = await services(ctx).blobs.read(contract.text_key, max_bytes=MAX_TEXT_BYTES)
    try:
        return DocumentText.model_validate_json(data)
    except ValueError as exc:  # pydantic's ValidationError is one
        raise InvalidInput(f"the stored text of contract {contract_id} is damaged: run OCR on its file again") from exc
