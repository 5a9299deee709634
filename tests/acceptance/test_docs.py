"""Every command and every piece of Python in the README is executed, in the order in which a reader meets it.

Those of the guide have a test of their own, `test_guide`.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from handlers.documents.sample import render_sample
from tests.acceptance.documents import ARCHITECTURE, GUIDE, README, blocks, commands
from tests.acceptance.reader import ROOT, SERVICES, Reader
from tests.unit.hostile_files import encrypted_pdf

TEXT = README.read_text("utf-8")
RUNS_THIS = {"bin/test"}


@pytest.mark.parametrize("document", [README, GUIDE, ARCHITECTURE], ids=lambda path: path.name)
def test_every_shell_line_of_a_document_is_a_command_of_this_project(document: Path) -> None:
    found = commands(document.read_text("utf-8"))
    assert bool(found) == (document != ARCHITECTURE)  # so nothing of that one is left unexecuted
    for line in found:
        assert line.split()[0] in {"jobqueue", "arq"} or (ROOT / line.split()[0]).is_file(), line


@pytest.mark.timeout(300)
async def test_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    render_sample(str(tmp_path / "agreement.pdf"))
    (tmp_path / "locked.pdf").write_bytes(encrypted_pdf())
    waiting = [line for line in commands(TEXT) if line not in RUNS_THIS]
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
                await reader.run(line.replace("JOB", job_id).replace("TASK", task_id))


@pytest.mark.timeout(120)
async def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    (block,) = blocks(TEXT, "python")
    program = "import asyncio\n\nasync def main():\n" + textwrap.indent(block, "    ") + "\nasyncio.run(main())\n"
    (tmp_path / "service.py").write_text(program)
    async with reader.service("jobqueue up"):
        out = await reader.run(f"{sys.executable} service.py")
    assert "'database': 'ok'" in out
