"""The demo with real processes: from a scan to its report, and nothing left running."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.command_support import (
    ROOT,
    Place,
    complaints,
    free_port,
    is_listening,
    read_document,
    wait_until,
)
from tests.unit import hostile_files

STAGES = ["ingest", "plan", "ocr", "join", "analyse", "summarise", "extract", "export"]
TRUE_FIELDS = {
    "buyer": "Ingrid M. Vossberry",
    "seller": "Orlando P. Brackenfield",
    "property_address": "1482 Larkspur Hollow Lane, Fernhollow, Oregon 97999",
    "purchase_price": "425000.00 USD",
    "earnest_money": "8500.00 USD",
    "agreement_date": "2025-03-03",
    "inspection_deadline": "2025-03-17",
    "financing_deadline": "2025-04-04",
    "closing_date": "2025-04-30",
}


def test_the_demo_reads_its_scanned_sample_and_leaves_nothing_running(tmp_path: Path) -> None:
    if not (ROOT / ".venv" / "ingredients").exists():
        pytest.fail("this test runs in the environment that bin/setup makes: start it with bin/test")
    port = free_port()
    place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": str(port)})

    done = place.run("--once", "--json", command=(str(ROOT / "bin" / "demo"),))

    assert done.returncode == 0, done.stderr
    assert place.processes() == []
    assert not is_listening(port)
    summary = json.loads(done.stdout)
    assert summary["ok"] is True
    [file] = summary["files"]
    assert file["task_id"].startswith("task-")
    assert [(stage["name"], stage["state"]) for stage in file["stages"]] == [(name, "succeeded") for name in STAGES]
    assert all(stage["seconds"] > 0 for stage in file["stages"])
    found = {kind: facts[0] for kind, facts in file["fields"].items()}
    assert {kind: found[kind]["value"] for kind in TRUE_FIELDS} == TRUE_FIELDS
    assert all(found[kind]["page"] == 1 for kind in TRUE_FIELDS)
    reports = {kind: Path(path) for kind, path in file["reports"].items()}
    assert reports == {kind: place.data_dir / "reports" / f"sample-agreement-report.{kind}" for kind in ("pdf", "docx")}
    assert reports["pdf"].read_bytes().startswith(b"%PDF-")
    assert reports["docx"].read_bytes().startswith(b"PK")


def test_people_get_a_table_and_files_of_one_name_get_reports_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / folder / "receipt.pdf" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(hostile_files.text_pdf())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": str(taken.getsockname()[1])})
        done = place.run("demo", "--once", *files)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("receipt.pdf: ") == 2
    assert "earnest money  8500.00 USD     1" in done.stdout
    assert "receipt.pdf  export  succeeded" in done.stderr
    reports = sorted(path.name for path in (place.data_dir / "reports").iterdir())
    assert reports == ["receipt-report-2.docx", "receipt-report-2.pdf", "receipt-report.docx", "receipt-report.pdf"]
    assert all(f"report: {place.data_dir}/reports/{name}\n" in done.stdout for name in reports)


def test_a_file_that_cannot_be_read_fails_the_demo_with_one_line_that_says_why(tmp_path: Path) -> None:
    place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": "0"})
    (tmp_path / "notes.pdf").write_bytes(hostile_files.encrypted_pdf())

    done = place.run("demo", "--once", "--json", tmp_path / "notes.pdf")

    assert done.returncode == 1
    [line] = complaints(done.stderr)
    assert line.startswith("jobqueue: notes.pdf: protected by a password")
    assert str(place.data_dir / "logs") in line
    assert json.loads(done.stdout)["files"][0]["stages"][0]["state"] == "failed"
    assert place.processes() == []


def test_a_file_that_is_not_there_fails_the_demo_before_anything_starts(tmp_path: Path) -> None:
    place = Place(directory=tmp_path)
    done = place.run("demo", tmp_path / "nowhere.pdf")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "jobqueue: nowhere.pdf: there is no such file\n"
    assert not place.data_dir.exists()


def test_without_once_the_demo_stays_up_until_ctrl_c_and_its_link_opens_the_page_once(tmp_path: Path) -> None:
    place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": "0"})
    (tmp_path / "receipt.pdf").write_bytes(hostile_files.text_pdf())
    with place.start("demo", "--json", tmp_path / "receipt.pdf") as demo:
        summary = read_document(demo)
        opened = _open(summary["login_url"])
        again = _open(summary["login_url"])
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=30) == 130
    assert (opened, again) == (303, 401)
    assert place.processes() == []


def test_a_worker_that_cannot_start_ends_the_demo_with_its_log_named(tmp_path: Path) -> None:
    broken = "raise SystemExit('no such luck')"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nif sys.argv[0].endswith('/arq'): {broken}\n")
    place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": "0", "PYTHONPATH": f"{tmp_path}:{ROOT}"})
    done = place.run("demo", "--once")
    assert done.returncode == 1
    last = complaints(done.stderr)[-1]
    assert "3 times in a row" in last
    assert str(place.data_dir / "logs" / "worker-") in last
    assert place.processes() == []


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        return None


def _open(url: str) -> int:
    """The status of a GET, redirects not followed."""
    try:
        with urllib.request.build_opener(_NoRedirect).open(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_two_demos_on_one_data_directory_are_one_too_many(tmp_path: Path) -> None:
    place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": "0"})
    (tmp_path / "receipt.pdf").write_bytes(hostile_files.text_pdf())
    with place.start("demo", tmp_path / "receipt.pdf") as first:
        wait_until((place.data_dir / "server-url").exists, within_s=30)
        second = place.run("demo", "--once", tmp_path / "receipt.pdf")
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=30) == 143
    assert second.returncode == 1
    [line] = complaints(second.stderr)
    assert "is in use by process" in line
