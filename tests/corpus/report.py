"""What a run came to, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from jobqueue.cli.render import table, tell
from tests.corpus.census import Census
from tests.corpus.outcomes import BAD_STATES, Outcome

_SLOWEST: Final = 10


def is_well(outcomes: Sequence[Outcome], census: Census) -> bool:
    """Whether nothing hung, no task was without an end, no worker was lost, and all was as expected."""
    return not census.lost and not any(o.state in BAD_STATES or o.surprise for o in outcomes)


def show(outcomes: Sequence[Outcome], census: Census, *, seconds: float) -> None:
    """The tables. Names and reasons come from strangers; `table` and `tell` make them safe to show."""
    counts = Counter((outcome.state, outcome.kind_of_reason) for outcome in outcomes)
    rows = sorted(counts.items(), key=lambda row: (row[0][0], -row[1]))
    table(("State", "Files", "Reason"), [(state, count, reason) for (state, reason), count in rows])
    slowest = sorted(outcomes, key=lambda o: -o.seconds)[:_SLOWEST]
    table(("Slowest", "Seconds", "Bytes", "State"), [(_name(o), o.seconds, o.size_bytes, o.state) for o in slowest])
    peaks = [(kind, round(size / 1e6)) for kind, size in sorted(census.peaks.items())]
    table(("Process", "Peak MB"), peaks)
    for outcome in outcomes:
        if outcome.state in BAD_STATES:
            tell(f"{outcome.state}: {_name(outcome)}: {outcome.reason}")
        if outcome.surprise:
            tell(f"unexpected: {_name(outcome)}: {outcome.surprise}")
    for said in census.lost:
        tell(f"lost: {said}")
    verdict = "all well" if is_well(outcomes, census) else "NOT WELL"
    tell(f"{len(outcomes)} files in {seconds:.0f} s: {verdict}")


def as_data(outcomes: Sequence[Outcome], census: Census, *, seconds: float) -> dict[str, Any]:
    """The whole for ``--json``; bytes of names that are no UTF-8 become U+FFFD."""
    return {
        "ok": is_well(outcomes, census),
        "seconds": round(seconds, 3),
        "states": dict(Counter(outcome.state for outcome in outcomes)),
        "files": [asdict(o) | {"path": _shown(o.path), "surprise": o.surprise} for o in outcomes],
        "peak_bytes": census.peaks,
        "lost": census.lost,
    }


def _name(outcome: Outcome) -> str:
    return outcome.path.rpartition("/")[2]


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")
