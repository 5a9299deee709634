"""What a job works with: its checkpoint, the sandbox for hostile bytes, the models that read contracts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobqueue.tasks import Analysis, DocumentText, Extraction, Scan, Summary, Usage


class Checkpoint(Protocol):
    """Where a job's next attempt goes on: after a retry, a worker's death, a shutdown, or a replay.

    Kept for as long as the job lives, and for a week with its dead letter.
    """

    async def load(self) -> Any:
        """What an earlier attempt saved last; None when there is nothing (or nothing that can be read).

        Raises:
            Unavailable: Redis doesn't answer.
        """
        ...

    async def save(self, data: Any) -> None:
        """Keep plain data, 1 MB at most, in the place of what was saved before.

        Raises:
            InvalidInput: not plain data.
            LimitExceeded: too much; put large things into storage and save their key.
            LeaseLost: the job is another worker's now, and nothing was saved: stop.
            Unavailable: Redis doesn't answer, so it may not be saved.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one sandboxed call may use. ``wall_s`` is wall-clock, ``cpu_s`` processor seconds."""

    wall_s: float = 120.0
    cpu_s: int = 120
    memory_bytes: int = 1_500_000_000
    file_bytes: int = 512_000_000


class Sandbox(Protocol):
    """Runs blocking code that touches hostile bytes, in child processes with limits."""

    async def run(self, function: str, /, *args: Any, limits: Limits | None = None, **kwargs: Any) -> Any:
        """Call ``"package.module:function"`` in a child and return its answer.

        Only functions below the allowed packages are called; arguments and answers are plain data
        (what msgpack carries). The child and everything it started is killed when the limit passes or the caller
        is cancelled, and replaced; one call's death never touches another's.

        Raises:
            LimitExceeded: wall clock, CPU, memory or file size; the message says which, and the limit.
            SandboxCrashed: the child died of something else.
            JobqueueError: what the function itself raised, rebuilt by class; any other exception of the
                function comes back as `JobFailed`.
        """
        ...

    async def close(self) -> None:
        """Kill every child."""
        ...


class Seal(Protocol):
    """Keeps a short secret readable for this product alone, wherever its sealed text comes to lie."""

    def seal(self, secret: str, *, of: str) -> str:
        """The sealed text; it opens for ``of``, what the secret belongs to, and nothing else. Never twice the same."""
        ...

    def unseal(self, sealed: str, *, of: str) -> str:
        """The secret. Raises `ConfigError` where it was sealed with another key, for another ``of``, or is altered."""
        ...


class VirusScanner(Protocol):
    """Looks for malware in files before anything parses them. Fails closed: *clean* is said of whole files alone."""

    @property
    def mandatory(self) -> bool:
        """Whether no file goes on without a verdict; if so, `check` belongs to the program's health."""
        ...

    async def scan(self, path: Path) -> Scan:
        """Have a local file looked at.

        Raises:
            Unavailable: no verdict was to be had; the file must wait. An optional scanner that isn't there is no such
                case: the file is ``unchecked``.
        """
        ...

    async def check(self) -> None:
        """Raise `Unavailable` unless the scanner answers, sees files whole, and knows recent malware."""
        ...


class ContractModel(Protocol):
    """One provider of contract analysis: offline rules, OpenAI, Anthropic.

    Every quote in an answer is verbatim: ``document.pages[q.page - 1].text[q.start:q.end] == q.text``.

    Raises (each method):
        ProviderBusy, Unavailable: try again later.
        RefusedRequest: never.
    """

    @property
    def name(self) -> str:
        """Provider and model, as ``offline/rules-1``."""
        ...

    async def extract(self, document: DocumentText) -> tuple[Extraction, Usage]:
        """The facts of the contract."""
        ...

    async def summarise(self, document: DocumentText) -> tuple[Summary, Usage]:
        """A summary of at most 2,500 characters."""
        ...

    async def analyse(self, document: DocumentText) -> tuple[Analysis, Usage]:
        """Clauses present and missing, risks, inconsistencies."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
