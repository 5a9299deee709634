"""Files that can't be processed, through the whole product: each ends as a dead letter that a person understands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.reader import Reader
from tests.unit import hostile_files

BAD = {
    "empty.pdf": (hostile_files.empty(), "empty"),
    "notes.pdf": (hostile_files.text_named_pdf(), "not a PDF"),
    "cut.pdf": (hostile_files.truncated_pdf(), "cut"),
    "locked.pdf": (hostile_files.encrypted_pdf(), "password"),
    "huge.png": (hostile_files.huge_png(), "pixels"),
    "blank.pdf": (hostile_files.pageless_pdf(), "no pages"),
}


@pytest.mark.timeout(180)
async def test_each_bad_file_is_a_dead_letter_with_a_clear_reason_and_the_workers_live_on(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "good.pdf").write_bytes(hostile_files.text_pdf())
    async with reader.service("jobqueue up"):
        answer = json.loads(await reader.run(f"jobqueue submit {' '.join(BAD)} --wait --json", code=1))
        letters = json.loads(await reader.run("jobqueue dead list --json"))["dead_letters"]
        await reader.run("jobqueue submit good.pdf --wait")
        queues = json.loads(await reader.run("jobqueue status --json"))["queues"]
    errors = {Path(file["file"]).name: file["error"] for file in answer["files"]}
    for name, (_, hint) in BAD.items():
        assert hint in errors[name], f"{name}: {errors[name]}"
    assert {letter["task_id"] for letter in letters} == {file["task_id"] for file in answer["files"]}
    assert all(letter["reason"] == "permanent" and letter["attempts"] == 1 for letter in letters)
    assert {queue["name"]: queue["workers"] for queue in queues} == dict.fromkeys(
        ("ingest", "llm", "export", "ocr", "system"), 1
    )
