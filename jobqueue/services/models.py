"""Providers of contract analysis: adapters of `jobqueue.ports.ContractModel`."""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

from jobqueue.errors import ConfigError
from jobqueue.ports import ContractModel, Limits, Sandbox
from jobqueue.tasks import Analysis, DocumentText, Extraction, Model, Summary, Usage

_READER: Final = "handlers.contracts.reader"
_LIMITS: Final = Limits(wall_s=60.0, cpu_s=60)

ModelT = TypeVar("ModelT", bound=Model)


class OfflineModel:
    """Contract analysis by rules, on this machine: no network, no cost, the same answer every time.

    The reading runs in the sandbox, since the text comes from files of strangers.
    """

    def __init__(self, sandbox: Sandbox, *, limits: Limits = _LIMITS) -> None:
        self._sandbox = sandbox
        self._limits = limits

    @property
    def name(self) -> str:
        """Provider and model."""
        return "offline/rules-1"

    async def extract(self, document: DocumentText) -> tuple[Extraction, Usage]:
        """The facts of the contract; raises as `Sandbox.run`."""
        return await self._ask("extract", document, Extraction)

    async def summarise(self, document: DocumentText) -> tuple[Summary, Usage]:
        """A summary of at most 2,500 characters; raises as `Sandbox.run`."""
        return await self._ask("summarise", document, Summary)

    async def analyse(self, document: DocumentText) -> tuple[Analysis, Usage]:
        """Clauses and findings; raises as `Sandbox.run`."""
        return await self._ask("analyse", document, Analysis)

    async def close(self) -> None:
        """Nothing to release: the sandbox belongs to whoever made it."""

    async def _ask(self, verb: str, document: DocumentText, answer: type[ModelT]) -> tuple[ModelT, Usage]:
        started = time.perf_counter()
        data: Any = await self._sandbox.run(f"{_READER}:{verb}", document.model_dump(mode="json"), limits=self._limits)
        provider, _, model = self.name.partition("/")
        usage = Usage(provider=provider, model=model, seconds=time.perf_counter() - started)
        return answer.model_validate(data), usage


def contract_model(provider: str, *, sandbox: Sandbox) -> ContractModel:
    """The provider of that name (``JOBQUEUE_LLM_PROVIDER``).

    Raises:
        ConfigError: no such provider; names those there are.
    """
    if provider == "offline":
        return OfflineModel(sandbox)
    raise ConfigError(f"JOBQUEUE_LLM_PROVIDER is {provider!r}: use 'offline'")
