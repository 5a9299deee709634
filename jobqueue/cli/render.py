"""What people see. Notes and progress go to standard error, results to standard output.

Whatever comes from a document, a server or a file name passes `one_line` first: it may hold a terminal's own commands.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobqueue.cli.common import one_line
from jobqueue.tasks import Extraction
from jobqueue.views import QueueView, StepView, TaskView

notes: Final = Console(stderr=True, highlight=False, markup=False)
# Without a terminal there is no width to wrap at: one row stays one line, for grep and its like.
results: Final = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 1_000)

_STYLES: Final = {"succeeded": "green", "running": "cyan", "retrying": "yellow", "failed": "red", "cancelled": "red",
            "ok": "green", "warning": "yellow"}  # fmt: skip
_MAX_FACTS: Final = 60


def say(text: str) -> None:
    """One line of notice, above whatever progress is being shown."""
    notes.print(f"jobqueue: {one_line(text)}", soft_wrap=True)


def tell(text: str) -> None:
    """One line of result."""
    results.print(one_line(text), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table of results; numbers stand at the right."""
    shown = Table(title=Text(one_line(title), style="bold") if title else None, title_justify="left", box=None)
    cells = [tuple(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(isinstance(row[index], int | float) for row in cells)
        shown.add_column(column, justify="right" if numeric else "left", header_style="dim", overflow="fold")
    for row in cells:
        shown.add_row(*(Text(one_line(str(cell)), style=_STYLES.get(str(cell), "")) for cell in row))
    results.print(shown)


def show_queues(queues: Sequence[QueueView]) -> None:
    """Every queue with its counts."""
    columns = ("Queue", "Waiting", "Deferred", "Running", "Dead", "Workers")
    table(columns, [(q.name, q.waiting, q.deferred, q.running, q.dead, q.workers) for q in queues])


def show_task(view: TaskView) -> None:
    """A task with its stages."""
    rows = [
        (stage(step), step.state, step.attempt, seconds(step.seconds), step.error or step.message)
        for step in view.steps
    ]
    table(("Stage", "State", "Attempt", "Seconds", ""), rows, title=f"{view.id}  {view.kind}  {view.state}")


def stage(step: StepView) -> str:
    """A stage's name; of a group of jobs with how many have ended.

    >>> stage(StepView(name="ocr", job_id="", queue="", function="", state="running", done=7, total=12, children=12))
    'ocr 7/12'
    """
    return f"{step.name} {step.done}/{step.children}" if step.children else step.name


def show_facts(name: str, extraction: Extraction) -> None:
    """What was found in a document, with the page it stands on."""
    rows = [(fact.kind.replace("_", " "), fact.value, fact.quote.page) for fact in extraction.facts[:_MAX_FACTS]]
    tell(f"{name}: {extraction.document_class.replace('_', ' ')}{'' if rows else ', in which no facts were found'}")
    if rows:
        table(("Found", "Value", "Page"), rows)


def show_letter(detail: Mapping[str, Any]) -> None:
    """A dead letter: every field on a line, its traceback last and as it is laid out."""
    table(("Field", "Value"), [(name, value) for name, value in detail.items() if name != "traceback"])
    for line in str(detail["traceback"]).splitlines():
        results.print(f"  {line.expandtabs()[: len(line) - len(line.lstrip())]}{one_line(line)}", soft_wrap=True)


def seconds(value: float | None) -> str:
    """Seconds as people read them.

    >>> seconds(0.123), seconds(None)
    ('0.1', '')
    """
    return "" if value is None else f"{value:.1f}"


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Board(Protocol):
    """Shows how far several tasks are."""

    def show(self, label: str, view: TaskView) -> None:
        """``label``'s task stands as ``view`` says."""
        ...


@contextmanager
def board() -> Iterator[Board]:
    """A live table on a terminal, plain lines elsewhere."""
    if notes.is_terminal:
        live = _LiveBoard()
        with Live(live, console=notes, refresh_per_second=8):
            yield live
    else:
        yield _PlainBoard()


class _LiveBoard:
    def __init__(self) -> None:
        self._labels: dict[str, str] = {}  # two files may have one name
        self._views: dict[str, TaskView] = {}
        self._started: dict[str, float] = {}

    def show(self, label: str, view: TaskView) -> None:
        self._labels[view.id] = label
        self._views[view.id] = view
        for step in view.steps:
            if step.state == "running":
                self._started.setdefault(step.job_id, time.monotonic())

    def __rich__(self) -> Table:
        shown = Table(box=None, header_style="dim")
        for column in ("File", "Stage", "State", "Progress"):
            shown.add_column(column, no_wrap=True)
        shown.add_column("Seconds", justify="right")
        shown.add_column("", overflow="ellipsis", no_wrap=True)
        for task_id, view in self._views.items():
            for index, step in enumerate(view.steps):
                shown.add_row(
                    Text(one_line(self._labels[task_id]) if index == 0 else "", style="bold"),
                    stage(step),
                    Text(step.state, style=_STYLES.get(step.state, "dim")),
                    _bar(step),
                    seconds(self._seconds(step)),
                    Text(one_line(step.error or (step.message if step.state == "running" else "")), style="dim"),
                )
        return shown

    def _seconds(self, step: StepView) -> float | None:
        if step.seconds is not None or step.state != "running":
            return step.seconds
        return time.monotonic() - self._started[step.job_id]


def _bar(step: StepView) -> ProgressBar:
    if step.state == "succeeded":
        return ProgressBar(total=1, completed=1, width=20)
    if step.state == "running" and not step.total:
        return ProgressBar(total=None, width=20, pulse=True)
    return ProgressBar(total=max(step.total, 1), completed=step.done, width=20)


class _PlainBoard:
    """One line for every change of a stage's state."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._states: dict[str, str] = {}

    def show(self, label: str, view: TaskView) -> None:
        for step in view.steps:
            if step.state in {"waiting", "queued", self._states.get(step.job_id)}:
                continue
            self._states[step.job_id] = step.state
            took = f" in {seconds(step.seconds)} s" if step.seconds is not None else ""
            why = f": {step.error}" if step.error else ""
            at = time.monotonic() - self._began
            notes.print(one_line(f"{at:.1f} s  {label}  {stage(step)}  {step.state}{took}{why}"), soft_wrap=True)


def shown_path(path: Path) -> str:
    """A path relative to where the user stands, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
