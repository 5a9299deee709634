"""The command against everything it starts: real Redis, real workers, a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.command_support import Place, complaints, read_document, wait_until
from tests.unit import hostile_files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    directory = tmp_path_factory.mktemp("up")
    (directory / "receipt.pdf").write_bytes(hostile_files.text_pdf())
    (directory / "locked.pdf").write_bytes(hostile_files.encrypted_pdf())
    return Place(directory=directory)


@pytest.fixture(scope="module")
def up(place: Place) -> Iterator[psutil.Process]:
    """Everything, running."""
    with place.start("up", "--port", "0", "--json") as process:
        read_document(process)
        yield psutil.Process(process.pid)


def _dead(place: Place) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = place.json("dead", "list", "--queue", "ingest")["dead_letters"]
    return letters


@pytest.mark.usefixtures("up")
def test_a_submitted_file_is_waited_for_and_its_facts_are_printed(place: Place) -> None:
    [file] = place.json("submit", "--wait", place.directory / "receipt.pdf")["files"]
    assert file["state"] == "succeeded"
    assert {stage["state"] for stage in file["stages"]} == {"succeeded"}
    assert file["fields"]["earnest_money"][0]["value"] == "8500.00 USD"


@pytest.mark.usefixtures("up")
def test_a_task_is_followed_and_looked_at_by_its_id(place: Place) -> None:
    submitted = place.run("submit", place.directory / "receipt.pdf")
    task_id = submitted.stdout.split()[0]
    followed = place.run("watch", task_id)
    assert followed.returncode == 0, followed.stderr
    assert "export" in followed.stdout
    assert place.json("status", task_id)["state"] == "succeeded"
    queues = place.json("status")["queues"]
    assert {queue["name"]: queue["workers"] for queue in queues} == dict.fromkeys(
        ("ingest", "ocr", "llm", "export", "system"), 1
    )
    unknown = place.run("watch", "task-00000000000000000000000000")
    assert unknown.returncode == 1
    assert len(complaints(unknown.stderr)) == 1


@pytest.mark.usefixtures("up")
def test_a_finished_task_is_shown_by_its_steps_and_replayed_from_one(place: Place) -> None:
    [file] = place.json("submit", "--wait", place.directory / "receipt.pdf")["files"]
    task_id = file["task_id"]
    shown = place.run("flow", "show", task_id)
    assert "ocr 1/1" in shown.stdout
    [job] = place.json("flow", "show", task_id, "--children", "ocr")["children"]
    assert (job["index"], job["state"], job["attempt"]) == (0, "succeeded", 1)
    assert place.json("flow", "replay", task_id, "--from", "join") == {"task_id": task_id, "state": "queued"}
    assert place.run("watch", task_id).returncode == 0
    steps = {step["name"]: step["job_id"] for step in place.json("flow", "show", task_id)["steps"]}
    assert (steps["join"][-3:], steps["export"][-3:], steps["plan"][-4:]) == (".r1", ".r1", "plan")
    [told] = complaints(place.run("flow", "replay", task_id, "--from", "nowhere").stderr)
    assert "has no step 'nowhere': there are ingest, plan, ocr, join" in told
    [told] = complaints(place.run("flow", "cancel", task_id).stderr)
    assert "has finished already" in told


@pytest.mark.usefixtures("up")
def test_a_dead_letter_is_listed_shown_replayed_and_discarded(place: Place) -> None:
    refused = place.run("submit", "--wait", place.directory / "locked.pdf")
    assert refused.returncode == 1
    [told] = complaints(refused.stderr)
    assert told.startswith("jobqueue: locked.pdf: protected by a password: submit it with its password, or remove")
    [letter] = _dead(place)
    assert letter["error_class"] == "jobqueue.errors.RejectedFile"
    job_id = letter["job_id"]
    shown = place.run("dead", "show", job_id)
    assert "Traceback (most recent call last)" in shown.stdout

    assert place.json("dead", "replay", job_id) == {"replayed": [job_id], "failed": []}
    wait_until(lambda: [x["buried_at"] > letter["buried_at"] for x in _dead(place)] == [True], within_s=20)
    assert len(place.json("dead", "show", job_id)["history"]) == 1

    unasked = place.run("dead", "discard", "--all", "--queue", "ingest")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert place.json("dead", "discard", "--all", "--queue", "ingest", "--yes")["discarded"] == [job_id]
    assert _dead(place) == []
    gone = place.run("dead", "replay", job_id)
    assert gone.returncode == 1
    assert complaints(gone.stderr) == [
        f"jobqueue: no queue has a dead letter of job {job_id}: see 'jobqueue dead list'"
    ]


@pytest.mark.usefixtures("up")
def test_a_rate_spreads_the_replay_of_a_whole_queue(place: Place) -> None:
    place.run("submit", "--wait", place.directory / "locked.pdf", place.directory / "locked.pdf")
    before = {letter["job_id"]: letter["buried_at"] for letter in _dead(place)}
    assert len(before) == 2
    done = place.json("dead", "replay", "--all", "--queue", "ingest", "--rate", "2/s", "--yes")
    assert set(done["replayed"]) == set(before)

    def buried_again() -> dict[str, Any]:
        return {x["job_id"]: x["buried_at"] for x in _dead(place) if x["buried_at"] > before[x["job_id"]]}

    wait_until(lambda: len(buried_again()) == 2, within_s=20)
    place.json("dead", "discard", *before)


@pytest.mark.usefixtures("up")
def test_the_key_and_the_logs_are_for_this_user_alone_and_the_logs_are_json(place: Place) -> None:
    assert place.data_dir.stat().st_mode & 0o777 == 0o700
    assert (place.data_dir / "api-key").stat().st_mode & 0o777 == 0o600
    logs = list((place.data_dir / "logs").glob("*.jsonl"))
    assert len(logs) == 6
    for log in logs:
        assert log.stat().st_mode & 0o777 == 0o600
        for line in log.read_text().splitlines():
            json.loads(line)


@pytest.mark.usefixtures("up")
def test_a_further_server_answers_beside_the_first_until_it_is_told_to_stop(place: Place) -> None:
    with place.start("serve", "--port", "0", "--json") as server:
        url = read_document(server)["url"]
        beside = Place(directory=place.directory, settings={"JOBQUEUE_SERVER_URL": url})
        assert len(beside.json("status")["queues"]) == 5
        server.terminate()
        assert server.wait(timeout=20) == 0
    assert beside.run("status").returncode == 1
    assert len(place.json("status")["queues"]) == 5


def test_everything_listens_on_the_loopback_alone(place: Place, up: psutil.Process) -> None:
    listening = [
        connection.laddr.ip
        for process in [up, *up.children(recursive=True)]
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


def test_a_worker_that_is_killed_is_started_again_and_its_log_is_named(place: Place, up: psutil.Process) -> None:
    [worker] = _workers(up, "Ocr")
    worker.kill()
    log = place.data_dir / "logs" / "worker-ocr.jsonl"
    wait_until(lambda: f"starting it again in 1 s; its log: {log}" in place.errors("up"), within_s=10)
    wait_until(lambda: [again for again in _workers(up, "Ocr") if again != worker], within_s=10)
    [file] = place.json("submit", "--wait", place.directory / "receipt.pdf")["files"]
    assert file["state"] == "succeeded"


def test_a_worker_killed_in_the_middle_of_a_scan_reads_again_only_what_it_was_reading(
    place: Place, up: psutil.Process
) -> None:
    pages = [f"{hostile_files.PROSE}\nPage {number}." for number in range(1, 17)]  # four ranges, two of them at a time
    (place.directory / "scan.tiff").write_bytes(hostile_files.multi_page_tiff(pages))
    [file] = place.json("submit", place.directory / "scan.tiff")["files"]

    def ranges() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = place.json("flow", "show", file["task_id"], "--children", "ocr")["children"]
        return found

    wait_until(lambda: any(child["state"] == "succeeded" for child in ranges()), within_s=60)
    [worker] = _workers(up, "Ocr")
    worker.kill()
    done = {child["index"] for child in ranges() if child["state"] == "succeeded"}
    assert place.run("watch", file["task_id"]).returncode == 0
    attempts = {child["index"]: child["attempt"] for child in ranges()}
    assert {attempts[index] for index in done} == {1}
    assert 2 in attempts.values()
    assert sum(attempts.values()) <= len(attempts) + 2


def _workers(up: psutil.Process, name: str) -> list[psutil.Process]:
    """The workers of a queue; each is the child of its leash."""
    return [
        worker
        for leash in up.children()
        for worker in leash.children()
        if worker.cmdline()[-1:] == [f"jobqueue.worker.{name}Settings"]
    ]


def test_when_up_is_killed_nothing_of_it_survives_for_five_seconds(tmp_path: Path) -> None:
    place = Place(directory=tmp_path)
    (tmp_path / "receipt.pdf").write_bytes(hostile_files.text_pdf())
    with place.start("up", "--port", "0", "--json") as process:
        read_document(process)
        place.json("submit", "--wait", tmp_path / "receipt.pdf")  # now the workers' own children run too
        assert len(place.processes()) > 12
        process.kill()
        wait_until(lambda: not place.processes(), within_s=5)


def test_up_stops_cleanly_when_it_is_told_to_and_comes_back_with_the_same_key(tmp_path: Path) -> None:
    place = Place(directory=tmp_path)
    keys = []
    for _ in range(2):
        with place.start("up", "--port", "0", "--json") as process:
            read_document(process)
            keys.append((place.data_dir / "api-key").read_text())
            assert place.json("status")["queues"]
            process.terminate()
            assert process.wait(timeout=30) == 0
        assert place.processes() == []
    assert keys[0] == keys[1]


def test_without_a_server_or_redis_the_commands_say_so_in_one_line(tmp_path: Path) -> None:
    place = Place(
        directory=tmp_path, settings={"JOBQUEUE_API_KEY": "jq_x", "JOBQUEUE_SERVER_URL": "http://127.0.0.1:1"}
    )
    for arguments in (["status"], ["watch", "task-00000000000000000000000000"], ["dead", "list"]):
        done = place.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(complaints(done.stderr)) == len(done.stderr.splitlines()) == 1
        assert "jobqueue up" in done.stderr


@pytest.mark.parametrize("named", [["ocr"], ["ingest", "llm"], ["--all"]])
@pytest.mark.usefixtures("up")
def test_further_workers_join_and_leave_when_they_are_told_to(place: Place, named: list[str]) -> None:
    def doubled() -> set[str]:
        return {queue["name"] for queue in place.json("status")["queues"] if queue["workers"] == 2}

    with place.start("worker", "--json", *named) as worker:
        queues = set(read_document(worker)["queues"])
        assert len(queues) == (5 if named == ["--all"] else len(named))
        wait_until(lambda: doubled() == queues, within_s=20)
        worker.terminate()
        assert worker.wait(timeout=20) == 0
    wait_until(lambda: not doubled(), within_s=20)
