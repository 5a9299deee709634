"""Answers of a contract model, kept by what was asked, so that no call is paid for twice.

A retry, a replay, or another task over the same text finds the answer in the tenant's own storage. Only a call that is
under way when its worker dies is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from jobqueue.errors import LimitExceeded, NotFound, Unavailable
from jobqueue.ports import BlobStore, ContractModel
from jobqueue.tasks import DocumentText, Model, Usage

KIND: Final = "answers"
PROMPTS: Final = 1
"""To be raised when a provider is asked in other words, and its name doesn't tell."""
MAX_ANSWER_BYTES: Final = 16_000_000

ModelT = TypeVar("ModelT", bound=Model)
Ask = Callable[[ContractModel, DocumentText], Awaitable[tuple[ModelT, Usage]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[ModelT]):
    """What a step of the llm queue asks: ``step`` names it, ``answer`` is the model that comes back."""

    step: str
    answer: type[ModelT]
    ask: Ask[ModelT]

    def key(self, tenant_id: str, model: ContractModel, text: DocumentText) -> str:
        """Where the answer lies: another text, provider, model, or shape of the answer is another key."""
        words = hashlib.sha256()
        for page in text.pages:
            words.update(f"{page.number}:{len(page.text)}:".encode())
            words.update(page.text.encode("utf-8", "surrogatepass"))
        asked = [PROMPTS, model.name, self.step, self.answer.model_json_schema(), words.hexdigest()]
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return f"{tenant_id}/{KIND}/{name}.json"


class _Kept(Model):
    """An answer in storage; ``contract_id`` is whose it was asked for, where its cost stands."""

    answer: dict[str, Any]
    usage: Usage
    contract_id: str


async def answered(
    question: Question[ModelT],
    model: ContractModel,
    text: DocumentText,
    *,
    blobs: BlobStore,
    tenant_id: str,
    contract_id: str,
) -> tuple[ModelT, Usage]:
    """The kept answer, or a new one, which is kept before anything else happens.

    Raises:
        Unavailable: storage can't be asked; then nor is the provider.
        Transient, RefusedRequest: as the provider says.
    """
    key = question.key(tenant_id, model, text)
    if (kept := await _read(blobs, key)) is not None:
        with suppress(ValueError):  # damaged: asked anew, and replaced
            answer = question.answer.model_validate(kept.answer)
            mine = kept.contract_id == contract_id
            cost = kept.usage if mine else Usage(provider=kept.usage.provider, model=kept.usage.model)
            return answer, cost.model_copy(update={"reused": True})
    answer, usage = await question.ask(model, text)
    new = _Kept(answer=answer.model_dump(mode="json"), usage=usage, contract_id=contract_id)
    with suppress(Unavailable):  # the answer is paid for: it is worth more in the contract than thrown away
        await blobs.put_bytes(key, new.model_dump_json().encode())
    return answer, usage


async def _read(blobs: BlobStore, key: str) -> _Kept | None:
    try:
        return _Kept.model_validate_json(await blobs.read(key, max_bytes=MAX_ANSWER_BYTES))
    except (NotFound, LimitExceeded, ValueError):  # pydantic's ValidationError is a ValueError
        return None
