"""What the jobs of all processes did, in a file outside of Redis that is only ever appended to."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One line: ``what`` is ``start``, ``end``, ``told`` (cancelled), ``ready`` (a worker) or ``flow`` (its end)."""

    what: str
    id: str
    attempt: int
    fence: int
    pid: int
    at: float
    tasks: int = 0


class EffectLog:
    """The file. Each line is one ``write`` to a descriptor in append mode, so lines of several processes never mix."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        self._read: list[Effect] = []
        self._offset = 0

    def close(self) -> None:
        os.close(self._file)

    def write(self, what: str, ctx: Mapping[Any, Any] | None = None, *, tasks: int = 0) -> None:
        """Append what a job does, by its ``ctx``."""
        ctx = ctx or {}
        effect = Effect(
            what=what, id=ctx.get("job_id", ""), attempt=ctx.get("job_try", 0), fence=ctx.get("fence", 0),
            pid=os.getpid(), at=time.time(), tasks=tasks,
        )  # fmt: skip
        os.write(self._file, json.dumps(asdict(effect)).encode() + b"\n")

    def read(self) -> list[Effect]:
        """Every effect so far, in order."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole + newline)
        self._read += [Effect(**json.loads(line)) for line in whole.splitlines()]
        return self._read


def by_job(effects: Iterable[Effect], what: str) -> dict[str, list[Effect]]:
    """The effects of one kind, by job."""
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        if effect.what == what:
            found[effect.id].append(effect)
    return found


def reruns(effects: Iterable[Effect]) -> int:
    """Starts beyond each job's first."""
    return sum(len(starts) - 1 for starts in by_job(effects, "start").values())


def recoveries(effects: Iterable[Effect], deaths: Mapping[int, float]) -> list[float]:
    """For each job that a dead process had begun: seconds from its death to the job's next start elsewhere."""
    found = []
    for starts in by_job(effects, "start").values():
        for start, after in pairwise(starts):
            died = deaths.get(start.pid)
            if died is not None and start.at <= died < after.at:
                found.append(after.at - died)
    return found
