"""A protected file from the command line to its report; afterwards its password lies nowhere on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.acceptance.command_support import COMMAND, ROOT, Place, complaints, read_document
from tests.unit.office_files import locked_pdf

PASSWORD = "Nightjar-Estuary-47"


def submit(place: Place, password: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "submit", "--wait", "--password-stdin", place.directory / "locked.pdf"], cwd=ROOT,
        env=place.environment, input=f"{password}\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def holding(directory: Path, text: str) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_password_opens_its_file_and_is_found_nowhere_after_the_run(tmp_path: Path) -> None:
    place = Place(directory=tmp_path)
    (tmp_path / "locked.pdf").write_bytes(locked_pdf(PASSWORD))
    with place.start("up", "--port", "0", "--json") as process:
        read_document(process)
        done = submit(place, PASSWORD)
        assert done.returncode == 0, done.stderr
        task_id = done.stdout.split()[0]
        wrong = submit(place, f"{PASSWORD}-wrong")
        [told] = complaints(wrong.stderr)
        assert wrong.returncode == 1
        assert "the one given doesn't open it" in told
        assert PASSWORD not in done.stdout + done.stderr + wrong.stdout + wrong.stderr
        process.terminate()
        process.wait(30)
    kept = holding(place.data_dir, task_id)
    assert any(path.name in {"jobqueue.db", "jobqueue.db-wal"} for path in kept)
    assert any(path.name.endswith((".rdb", ".aof")) for path in kept)
    assert holding(tmp_path, PASSWORD) == []


def test_without_a_password_on_standard_input_nothing_is_sent(tmp_path: Path) -> None:
    done = submit(Place(directory=tmp_path), "")
    assert done.returncode == 1
    assert "there is no password on standard input" in done.stderr
