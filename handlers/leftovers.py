"""Stored objects that nobody will ask for again: what a server, a worker or a task that came to grief left behind.

Each has lain untouched for longer than whoever made it may take to need it, and no row of the database speaks for it.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from jobqueue.errors import NotFound
from jobqueue.ports import Services

UPLOAD: Final = "orphan_blobs"
COPY: Final = "orphan_copies"
PART: Final = "page_parts"
AGE: Final = timedelta(days=1)
"""An upload or a copy that no row names after so long: its writer died before its rows; no job may run for a day."""
PART_AGE: Final = timedelta(days=14)
"""Twice as long as a task that ended can be replayed, which reads the parts that are there."""
MAX_REMOVED: Final = 1_000
LONGEST_S: Final = 60.0
"""The longest that one run looks."""
_BATCH: Final = 500
_KEYS: Final = {
    UPLOAD: re.compile(r"([^/]+)/files/([^/]+)/original"),
    COPY: re.compile(r"([^/]+)/files/([^/]+)/readable"),
    PART: re.compile(r"([^/]+)/contracts/[^/]+/parts/([^/]+)/[^/]+"),
}
"""Kind -> its key, with the tenant and the file, or the tenant and the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    key: str
    kind: str
    tenant_id: str
    owner: str  # a file's id, or of a part its task's

    @property
    def age(self) -> timedelta:
        return PART_AGE if self.kind == PART else AGE


async def remove_leftovers(bundle: Services) -> dict[str, int]:
    """Remove so many, or look for so long, at most: the next run goes on.

    Returns:
        How many of each: ``orphan_blobs`` (uploads), ``orphan_copies`` (made for reading), ``page_parts``.
    """
    removed: Counter[str] = Counter(dict.fromkeys(_KEYS, 0))
    batch: list[_Found] = []

    async def sweep() -> None:
        for found in await _unclaimed(bundle, batch):
            if await _untouched(bundle, found) and await bundle.blobs.delete(found.key):
                removed[found.kind] += 1
        batch.clear()

    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_S):
            async for key in bundle.blobs.keys("", older_than_s=AGE.total_seconds()):
                if (found := _recognised(key)) is None:
                    continue
                batch.append(found)
                if len(batch) == _BATCH:
                    await sweep()
                if removed.total() >= MAX_REMOVED:
                    break
            if batch:
                await sweep()
    return dict(removed)


def _recognised(key: str) -> _Found | None:
    for kind, pattern in _KEYS.items():
        if (match := pattern.fullmatch(key)) is not None:
            return _Found(key=key, kind=kind, tenant_id=match[1], owner=match[2])
    return None


async def _unclaimed(bundle: Services, batch: Sequence[_Found]) -> list[_Found]:
    """Those that no file's row names, and whose task has ended long ago or is not known any more."""
    files = {(found.tenant_id, found.owner) for found in batch if found.kind != PART}
    tasks = {(found.tenant_id, found.owner) for found in batch if found.kind == PART}
    ended_before = datetime.now(UTC) - PART_AGE
    claimed = set[tuple[str, str]]()
    async with bundle.records.unit() as unit:
        named = await unit.named_blobs(list(files))
        for tenant_id, task_id in tasks:
            with suppress(NotFound):
                task = await unit.get_task(tenant_id, task_id)
                if task.finished_at is None or task.finished_at > ended_before:
                    claimed.add((tenant_id, task_id))
    return [
        found
        for found in batch
        if ((found.tenant_id, found.owner) not in claimed if found.kind == PART else found.key not in named)
    ]


async def _untouched(bundle: Services, found: _Found) -> bool:
    # Right before it goes: a replayed job may have written it anew while others of its batch were looked up.
    async for key in bundle.blobs.keys(found.key, older_than_s=found.age.total_seconds()):
        if key == found.key:
            return True
    return False
