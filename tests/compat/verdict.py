"""Which outcomes of arq's tests are in order: a pure decision from outcomes and written reasons."""

from __future__ import annotations

import enum
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter

Run = Literal["worker", "pool"]
"""Our Worker under arq's pool, or under our own."""


class Verdict(enum.StrEnum):
    """What a test's outcome means; the order is that of the summary."""

    PASSED = "passed"
    SKIPPED = "skipped"  # by arq itself
    EXCUSED = "excused"  # failed in the way that a written reason gives
    FAILED = "failed"
    NEEDLESS = "needless reason"  # did not fail, yet a reason is written
    STALE = "stale reason"  # there is no such test

    @property
    def in_order(self) -> bool:
        """Whether the suite may end well with this."""
        return self in {Verdict.PASSED, Verdict.SKIPPED, Verdict.EXCUSED}


class Reason(BaseModel):
    """Why some tests can't hold, and what their failure then shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    because: Annotated[str, StringConstraints(pattern=r"^[A-Z].{20,}\.$")]
    shows: Annotated[str, StringConstraints(min_length=1)]
    tests: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One test of one run. ``detail`` is the written reason, arq's own for a skip, or the traceback."""

    run: Run
    test: str
    verdict: Verdict
    detail: str = ""


def read_reasons(path: Path) -> dict[Run, dict[str, Reason]]:
    """The written reasons: run -> test -> reason.

    Raises:
        ValueError: the file is malformed, it names another run, a reason is no sentence, or a test has two.
    """
    read = TypeAdapter(dict[Run, list[Reason]]).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    reasons: dict[Run, dict[str, Reason]] = {}
    for run, groups in read.items():
        named = [(test, reason) for reason in groups for test in reason.tests]
        reasons[run] = dict(named)
        if len(reasons[run]) < len(named):
            raise ValueError(f"{path}: a test of the run {run!r} has more than one reason")
    return reasons


def judge(run: Run, outcomes: Mapping[str, Mapping[str, str]], reasons: Mapping[str, Reason]) -> Iterator[Line]:
    """One line per test that ran or has a reason."""
    for test, noted in outcomes.items():
        outcome, detail, reason = noted["outcome"], noted["detail"], reasons.get(test)
        if reason is None:
            yield Line(run=run, test=test, verdict=Verdict(outcome), detail=detail)
        elif outcome != "failed":
            yield Line(run=run, test=test, verdict=Verdict.NEEDLESS, detail=reason.because)
        elif reason.shows not in detail:
            yield Line(run=run, test=test, verdict=Verdict.FAILED, detail=detail)
        else:
            yield Line(run=run, test=test, verdict=Verdict.EXCUSED, detail=reason.because)
    for test in sorted(reasons.keys() - outcomes.keys()):
        yield Line(run=run, test=test, verdict=Verdict.STALE, detail=reasons[test].because)


def counts(lines: Iterable[Line]) -> dict[str, int]:
    """How many lines of each verdict there are."""
    found = Counter(line.verdict for line in lines)
    return {verdict.value: found[verdict] for verdict in Verdict if found[verdict]}


def render(lines: Iterable[Line]) -> str:
    """A table for people: every test by name, what is not in order last."""
    lines = sorted(lines, key=lambda line: not line.verdict.in_order)
    width = max((len(line.test) for line in lines), default=0)
    rows = []
    for line in lines:
        row = f"{line.run:<8}{line.verdict:<16}{line.test:<{width}}"
        rows.append(f"{row}\n{line.detail}" if line.verdict is Verdict.FAILED else f"{row}  {line.detail}".rstrip())
    return "\n".join(rows)
