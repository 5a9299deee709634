"""What became of one file, what was expected of it, and the journal that lets an interrupted run go on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.corpus.specimens import Expected

HUNG: Final = "hung"
NO_STATE: Final = "no state"
BAD_STATES: Final = frozenset({HUNG, NO_STATE})
"""States that no file may be in, whatever it holds."""
_REASON_CHARS: Final = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a file.

    Attributes:
        path: as found; `surrogateescape` stands for bytes that are no UTF-8.
        key: SHA-256 over name and content: what it is known by in the journal.
        state: ``done``, ``rejected``, ``quarantined``; ``failed`` after it was accepted; ``refused`` by the server;
            ``hung``: no end within the limit; ``no state``: the task has none.
        reason: why, where it isn't done.
        stage: the step that failed.
        engine: which virus scanner looked.
        expected: what its manifest says; None without one.
    """

    path: str
    key: str
    state: str
    seconds: float
    size_bytes: int
    reason: str = ""
    stage: str = ""
    engine: str = ""
    expected: Expected | None = None

    @property
    def surprise(self) -> str | None:
        """How it differs from what was expected; None when it doesn't, or nothing was."""
        wanted = self.expected
        if wanted is None or (wanted.needs_clamd and not self.engine.startswith("ClamAV")):
            return None
        if self.state not in wanted.states:
            return f"{self.state}, not {' or '.join(wanted.states)}: {self.reason}"
        if wanted.reason not in self.reason:
            return f"{self.state} as expected, but the reason says nothing of {wanted.reason!r}: {self.reason}"
        return None

    @property
    def kind_of_reason(self) -> str:
        """The reason without what is this file's own: its name, and numbers.

        >>> Outcome(path="a b.pdf", key="", state="rejected", seconds=0, size_bytes=0,
        ...         reason="a b.pdf has 1,200 bytes").kind_of_reason
        '… has # bytes'
        """
        name = Path(self.path).name
        reason = self.reason.replace(name, "…").replace(" ".join(name.split()), "…")
        return re.sub(r"\d[\d,.]*", "#", reason)[:_REASON_CHARS]


def key_of(path: Path) -> str:
    """SHA-256 over a file's name and content: a name may decide about an outcome, too."""
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape") + b"\0")
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(slots=True)
class Journal:
    """Outcomes as lines of JSON, each written when it is known; a file that has one is not run again.

    A line that was cut off by a kill counts for nothing.
    """

    path: Path
    known: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, *, anew: bool = False) -> Self:
        """Read one, or begin it."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if anew:
            path.unlink(missing_ok=True)
        known = {outcome.key: outcome for outcome in _read(path)} if path.exists() else {}
        return cls(path=path, known=known)

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome."""
        self.known[outcome.key] = outcome
        with self.path.open("a", encoding="ascii") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def _read(path: Path) -> Iterator[Outcome]:
    for line in path.read_text("ascii").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if wanted := entry.pop("expected"):
            wanted = Expected(**{**wanted, "states": tuple(wanted["states"])})
        yield Outcome(**entry, expected=wanted)
