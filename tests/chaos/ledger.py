"""The account of a scenario: one row, and what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

COLUMNS: Final = ("jobs", "faults", "reruns", "lost", "doubled", "overwritten", "leaked", "recovery_s", "seconds")
MUST_BE_ZERO: Final = ("lost", "doubled", "overwritten", "leaked")


@dataclass(slots=True, kw_only=True)
class Row:
    """One scenario's account.

    Attributes:
        faults: kills, stops, dropped replies, and so on.
        reruns: jobs' functions started again; work may run twice, a record may not.
        lost: accepted, and never recorded.
        doubled: recorded more than once.
        overwritten: a recorded result that was another one later.
        leaked: keys, queue and outbox entries that outlive their job.
        recovery_s: the worst time from a fault to the work's going on.
        broken: promises of this scenario alone that weren't kept.
        forgiven: columns that may be other than 0 here; a note says why.
    """

    scenario: str
    jobs: int = 0
    faults: int = 0
    reruns: int = 0
    lost: int = 0
    doubled: int = 0
    overwritten: int = 0
    leaked: int = 0
    recovery_s: float | None = None
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    forgiven: frozenset[str] = frozenset()

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not self.broken and not any(getattr(self, name) for name in MUST_BE_ZERO if name not in self.forgiven)

    def expect(self, held: bool, what: str) -> None:
        """Note a promise of this scenario that wasn't kept."""
        if not held:
            self.broken.append(what)

    def recovered(self, seconds: Sequence[float], *, within_s: float) -> None:
        """Take over recovery times, and the bound that they have to keep."""
        if seconds:
            self.recovery_s = round(max(seconds), 2)
            late = sum(s > within_s for s in seconds)
            self.expect(not late, f"{late} of {len(seconds)} recoveries took more than {within_s:g} s")

    def data(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self) | {"forgiven": sorted(self.forgiven), "kept": self.kept}


def table(rows: Sequence[Row]) -> str:
    """The ledger, for people."""
    width = max(len(row.scenario) for row in rows)
    lines = ["  ".join([" " * width, *(f"{name:>11}" for name in COLUMNS)])]
    for row in rows:
        cells = [getattr(row, name) for name in COLUMNS]
        shown = ["-" if cell is None else f"{cell:,.1f}" if isinstance(cell, float) else f"{cell:,}" for cell in cells]
        lines.append("  ".join([row.scenario.ljust(width), *(f"{cell:>11}" for cell in shown)]))
        lines += [f"{' ' * width}  {note}" for note in row.notes]
        lines += [f"{' ' * width}  BROKEN: {what}" for what in row.broken]
        if not row.kept and not row.broken:
            lines.append(f"{' ' * width}  BROKEN: {', '.join(MUST_BE_ZERO)} must be 0")
    return "\n".join(lines)
