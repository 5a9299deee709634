"""A folder through the real workers: each file sent to the server, followed to its end, and given up after a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from jobqueue.cli.api import FINISHED, Accepted, Api
from jobqueue.errors import JobqueueError, Permanent
from jobqueue.tasks import DocumentInfo, Model, Scan
from jobqueue.views import TaskView
from tests.corpus.outcomes import HUNG, NO_STATE, Journal, Outcome, key_of
from tests.corpus.specimens import MANIFEST, Expected

_CANCEL_S: Final = 10.0


class _File(Model):
    state: str
    reason: str | None
    scan: Scan | None = None
    info: DocumentInfo | None = None


class _Contract(Model):
    file: _File


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How to run a corpus.

    Attributes:
        at_once: files in the system at a time.
        limit_s: after which a file counts as hung, counted from its upload.
        expected: by path.
    """

    api: Api
    journal: Journal
    at_once: int
    limit_s: float
    expected: dict[Path, Expected]

    async def all(self, paths: Iterable[Path]) -> list[Outcome]:
        """Every file's outcome, in the order of the paths; those in the journal are taken from there."""
        waiting = iter(enumerate(paths))
        outcomes: dict[int, Outcome] = {}

        async def work() -> None:
            for number, path in waiting:  # shared: each worker takes the next
                outcomes[number] = await self._known_or_run(path)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.at_once):
                group.create_task(work())
        return [outcomes[number] for number in sorted(outcomes)]

    async def _known_or_run(self, path: Path) -> Outcome:
        key = await asyncio.to_thread(key_of, path)
        if (known := self.journal.known.get(key)) is not None:
            return replace(known, path=str(path), expected=self.expected.get(path))
        size = (await asyncio.to_thread(path.stat)).st_size
        blank = Outcome(
            path=str(path), key=key, state=NO_STATE, seconds=0.0, size_bytes=size, expected=self.expected.get(path)
        )
        began = time.monotonic()
        outcome = replace(await self._run(path, blank), seconds=round(time.monotonic() - began, 3))
        self.journal.add(outcome)
        return outcome

    async def _run(self, path: Path, blank: Outcome) -> Outcome:
        try:
            accepted = await self.api.upload(path)
        except Permanent as exc:
            return replace(blank, state="refused", reason=str(exc))
        try:
            async with asyncio.timeout(self.limit_s):
                return await self._followed(accepted, blank)
        except TimeoutError:
            return replace(await self._give_up(accepted, blank), state=HUNG)
        except JobqueueError as exc:
            return replace(blank, reason=f"{type(exc).__name__}: {exc}")

    async def _followed(self, accepted: Accepted, blank: Outcome) -> Outcome:
        """The outcome, once the task has ended, and those of the files that were unpacked from this one."""
        view = await self._end_of(accepted.task_id)
        file = (await self.api._ask("GET", f"/api/contracts/{accepted.contract_id}", _Contract)).file
        for child in file.info.children if file.info else ():
            ended = await self._end_of(child.task_id)
            if ended is None or ended.state not in FINISHED:
                return replace(blank, reason=f"the task of {child.name}, which was in it, has no end")
        return _told(view, file, blank)

    async def _end_of(self, task_id: str) -> TaskView | None:
        view: TaskView | None = None
        async for current in self.api.watch(task_id):
            view = current
        return view

    async def _give_up(self, accepted: Accepted, blank: Outcome) -> Outcome:
        """Cancel what takes too long, so that it takes nothing from the others; where it was is the reason."""
        with suppress(JobqueueError, TimeoutError):
            async with asyncio.timeout(_CANCEL_S):
                view = await self.api.task(accepted.task_id)
                stages = ", ".join(f"{step.name} {step.state}" for step in view.steps if step.state != "waiting")
                blank = replace(blank, reason=f"no end after {self.limit_s:g} s: {stages}")
                await self.api.cancel(accepted.task_id)
        return blank


def _told(view: TaskView | None, file: _File, blank: Outcome) -> Outcome:
    if view is None or view.state not in FINISHED:
        return replace(blank, reason=f"the task is {view.state if view else 'nowhere'}")
    failed = next((step for step in view.steps if step.state == "failed"), None)
    put_away = file.state in {"rejected", "quarantined"}
    return replace(
        blank,
        state="done" if view.state == "succeeded" else file.state if put_away else view.state,
        reason=(file.reason if put_away else None) or view.error or "",
        stage=failed.name if failed else "",
        engine=file.scan.engine if file.scan else "",
    )


def files_in(directory: Path) -> Iterator[Path]:
    """Every regular file below a folder, in a fixed order; links are not followed, and the manifest is none of them."""
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if name != MANIFEST and path.is_file() and not path.is_symlink():
                yield path
