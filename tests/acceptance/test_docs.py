"""Every command and every piece of Python in the documents is executed, in the order in which a reader meets it."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest

from handlers.documents.sample import render_sample
from tests.acceptance.reader import ROOT, SERVICES, Reader
from tests.unit.hostile_files import encrypted_pdf

DOCUMENTS = (ROOT / "README.md", ROOT / "jobqueue" / "ARCHITECTURE.md")

RUNS_THIS = {"bin/test"}


def blocks(language: str) -> list[str]:
    return [
        textwrap.dedent(block)
        for document in DOCUMENTS
        for block in re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ]


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def test_every_shell_line_of_the_documents_is_a_command_of_this_project() -> None:
    assert commands()
    for line in commands():
        assert line.split()[0] in {"jobqueue", "arq"} or (ROOT / line.split()[0]).is_file(), line


@pytest.mark.timeout(300)
async def test_every_command_of_the_documents_does_what_they_say(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    render_sample(str(tmp_path / "agreement.pdf"))
    (tmp_path / "locked.pdf").write_bytes(encrypted_pdf())
    waiting = [line for line in commands() if line not in RUNS_THIS]
    for line in [line for line in waiting if line.startswith("bin/")]:
        await reader.run(line)
        waiting.remove(line)
    async with reader.service("jobqueue up"):
        waiting.remove("jobqueue up")
        refused = json.loads(await reader.run("jobqueue submit locked.pdf --wait --json", code=1))
        assert refused["files"][0]["error"]
        (letter,) = json.loads(await reader.run("jobqueue dead list --json"))["dead_letters"]
        job_id = letter["job_id"]
        task_id = refused["files"][0]["task_id"]
        for line in waiting:
            if line in SERVICES:
                async with reader.service(line):
                    pass
            elif line == "jobqueue watch TASK":
                await reader.run(line.replace("TASK", task_id), code=1)  # that task has failed
            elif line.endswith("dead replay JOB"):
                await reader.run(line.replace("JOB", job_id))
                await reader.run(f"jobqueue watch {task_id}", code=1)  # it fails again, and is buried again
            else:
                await reader.run(line.replace("JOB", job_id))


@pytest.mark.timeout(120)
async def test_the_python_of_the_documents_runs(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    (block,) = blocks("python")
    program = "import asyncio\n\nasync def main():\n" + textwrap.indent(block, "    ") + "\nasyncio.run(main())\n"
    (tmp_path / "service.py").write_text(program)
    async with reader.service("jobqueue up"):
        out = await reader.run(f"{sys.executable} service.py")
    assert "'database': 'ok'" in out
