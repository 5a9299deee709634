"""What people see of tasks, with and without a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from jobqueue.cli import render
from jobqueue.cli.follow import Outcome
from jobqueue.views import StepView, TaskView

HOSTILE = "\x1b[2Jdeed\x07.pdf"


def _view(state: str, **step: object) -> TaskView:
    fields = {"name": "ocr", "job_id": "ocr-1", "queue": "ocr", "function": "ocr_document", "state": state, **step}
    return TaskView(
        id="task-1", kind="process_file", tenant_id="t", state="running", progress=0.5,
        steps=[StepView.model_validate(fields)], created_at=datetime.now(UTC),
    )  # fmt: skip


def _console(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, highlight=False, markup=False)
    monkeypatch.setattr(render, "notes", console)
    monkeypatch.setattr(render, "results", console)
    return out


def test_without_a_terminal_each_change_of_state_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _console(monkeypatch, terminal=False)
    with render.board() as board:
        board.show("deed.pdf", _view("queued"))
        board.show("deed.pdf", _view("running", done=1, total=3))
        board.show("deed.pdf", _view("running", done=2, total=3))
        board.show("deed.pdf", _view("failed", seconds=2.04, error="page 3\nis damaged"))
    running, failed = out.getvalue().splitlines()
    assert running.endswith(" s  deed.pdf  ocr  running")
    assert failed.endswith(" s  deed.pdf  ocr  failed in 2.0 s: page 3 is damaged")


def test_on_a_terminal_a_table_shows_state_progress_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _console(monkeypatch, terminal=True)
    with render.board() as board:
        board.show("deed.pdf", _view("running", done=1, total=3, message="page 1 of 3"))
        board.show("deed.pdf", _view("succeeded", seconds=2.04))
    shown = out.getvalue()
    assert "deed.pdf" in shown
    assert "succeeded" in shown
    assert "2.0" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_that_steers_a_terminal_comes_through(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = _console(monkeypatch, terminal=terminal)
    with render.board() as board:
        board.show(HOSTILE, _view("failed", error=HOSTILE))
    render.table(["Name"], [[HOSTILE], ["[red]plain[/red]"]], title=HOSTILE)
    render.tell(HOSTILE)
    render.say(HOSTILE)
    render.show_letter({"message": HOSTILE, "traceback": f"Traceback\n  {HOSTILE}"})
    assert "\x1b[2J" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "[red]plain[/red]" in out.getvalue()


def test_a_complaint_names_the_file_once() -> None:
    path = Path("/scans/notes.pdf")
    said = "notes.pdf is protected by a password: remove the password"
    assert Outcome(path=path, error=said).complaint == "notes.pdf: protected by a password: remove the password"
    assert Outcome(path=path, error="the file is empty").complaint == "notes.pdf: the file is empty"
    assert Outcome(path=path).complaint is None
