"""The corpus run with real processes, on a small part of the corpus that is made by code."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psutil

from tests.acceptance.command_support import Place, wait_until

CORPUS = (sys.executable, "-m", "tests.corpus")


def corpus(tmp_path: Path) -> tuple[Place, Path]:
    place = Place(directory=tmp_path, settings={"JOBQUEUE_PORT": "0"})
    folder = tmp_path / "files"
    built = place.run("--build", "--smoke", folder, command=CORPUS)
    assert (built.returncode, built.stdout) == (0, f"5 files are in {folder}\n"), built.stderr
    return place, folder


def test_every_file_ends_as_expected_and_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    place, folder = corpus(tmp_path)
    done = place.run(folder, "--json", "--clamd", command=CORPUS)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["ok"] is True
    assert summary["states"] == {"done": 2, "rejected": 1, "failed": 1, "quarantined": 1}
    assert (summary["lost"], [file["surprise"] for file in summary["files"]]) == ([], [None] * 5)
    assert {"sandbox child", "worker ingest", "worker ocr"} <= summary["peak_bytes"].keys()
    assert all(10_000_000 < size < 2_000_000_000 for size in summary["peak_bytes"].values())
    assert place.processes() == []
    journal = place.data_dir / "corpus.jsonl"
    before = journal.read_bytes()

    again = place.run(folder, "--clamd", command=CORPUS)

    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.endswith("all well\n")
    assert journal.read_bytes() == before


def test_a_file_past_its_time_and_a_worker_that_dies_make_the_run_fail(tmp_path: Path) -> None:
    place, folder = corpus(tmp_path)
    with place.start(folder, "--json", "--limit-s", "0.001", "--at-once", "1", command=CORPUS) as run:
        wait_until(lambda: workers(place), within_s=30)
        os.kill(workers(place)[0].pid, signal.SIGKILL)
        assert run.stdout is not None
        summary = json.loads(run.stdout.read())
        assert run.wait(timeout=30) == 1
    assert summary["ok"] is False
    assert summary["states"] == {"hung": 5}
    assert all(file["reason"].startswith("no end after 0.001 s") for file in summary["files"])
    assert len(summary["lost"]) == 1


def workers(place: Place) -> list[psutil.Process]:
    """The worker processes, without the leashes that hold them."""
    found = [process for process in place.processes() if "jobqueue.worker.OcrSettings" in " ".join(process.cmdline())]
    return [process for process in found if "leash" not in " ".join(process.cmdline())]
