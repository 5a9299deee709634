"""Files sent to the server and followed to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from jobqueue.cli.api import Accepted, Api, Contract
from jobqueue.cli.common import first_of
from jobqueue.cli.render import Board
from jobqueue.errors import Permanent
from jobqueue.tasks import Extraction
from jobqueue.views import TaskView

_AT_ONCE: Final = 16  # uploads and event streams; the server bounds them too


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: as it was named.
        accepted: None when the server didn't take it.
        view: the task at its end; None when nobody waited for it.
        contract: what was found, as the API gives it; None unless the task succeeded.
        error: why it failed, or None.
    """

    path: Path
    accepted: Accepted | None = None
    view: TaskView | None = None
    contract: Contract | None = None
    error: str | None = None

    @property
    def complaint(self) -> str | None:
        """The file's name and why it failed, for one line; None when it didn't."""
        if self.error is None:
            return None
        name = self.path.name  # many reasons are sentences about it
        return f"{name}: {self.error.removeprefix(f'{name} ').removeprefix('is ')}"

    @property
    def extraction(self) -> Extraction | None:
        """The facts found."""
        return self.contract.extraction if self.contract else None

    def summary(self) -> dict[str, Any]:
        """The whole as plain data for ``--json``."""
        ids = self.accepted.model_dump() if self.accepted else {}
        data: dict[str, Any] = {"file": str(self.path), **ids, "error": self.error}
        if self.view is not None:
            data["state"] = self.view.state
            data["stages"] = [
                step.model_dump(include={"name", "queue", "job_id", "state", "attempt", "seconds", "error", "children"})
                for step in self.view.steps
            ]
        if (extraction := self.extraction) is not None:
            data["document_class"] = extraction.document_class
            data["fields"] = fields(extraction)
        return data


def fields(extraction: Extraction) -> dict[str, list[dict[str, Any]]]:
    """The facts by kind, the best of each kind first, each with the page and the words it stands in."""
    found: dict[str, list[dict[str, Any]]] = {}
    for fact in extraction.facts:
        entry = {"value": fact.value, "page": fact.quote.page, "text": fact.quote.text, "confidence": fact.confidence}
        found.setdefault(fact.kind, []).append(entry)
    return found


async def send_all(
    api: Api, paths: Iterable[Path], board: Board | None = None, *, password: SecretStr | None = None
) -> list[Outcome]:
    """Send files, and with a board follow each to its end; the outcomes in the order of the paths.

    ``password`` goes with each of them. A file that is refused or fails is an outcome as any other.

    Raises:
        Denied, Unavailable: the server can't be worked with.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(path: Path) -> Outcome:
        async with slots:
            return await _send(api, path, board, password)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(path), name=f"send {path}") for path in paths]
    except BaseExceptionGroup as several:
        raise first_of(several) from None
    return [task.result() for task in tasks]


async def _send(api: Api, path: Path, board: Board | None, password: SecretStr | None) -> Outcome:
    try:
        accepted = await api.upload(path, password=password)
    except (Permanent, OSError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        return Outcome(path=path, error=why)
    if board is None:
        return Outcome(path=path, accepted=accepted)
    view = await follow(api, accepted.task_id, path.name, board)
    if view.state != "succeeded":
        return Outcome(path=path, accepted=accepted, view=view, error=view.error or view.state)
    return Outcome(path=path, accepted=accepted, view=view, contract=await api.contract(accepted.contract_id))


async def follow(api: Api, task_id: str, label: str, board: Board) -> TaskView:
    """Show a task on a board until it has finished; returns it as it is then."""
    async for view in api.watch(task_id):
        board.show(label, view)
    return view


def complaints(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each that failed."""
    return [complaint for outcome in outcomes if (complaint := outcome.complaint)]
