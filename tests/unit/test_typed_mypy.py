"""What a type checker makes of declared job types, without pydantic's mypy plugin and with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

DECLARED = """
from pydantic import BaseModel
from jobqueue.typed import Task

class Outcome(BaseModel):
    clauses: int

class Analyze(Task[Outcome], queue="llm", function="analyze"):
    contract_id: str
    depth: int = 1
"""
RIGHT_AND_WRONG_TASKS = """
Analyze(contract_id="contract-1")
Analyze(contract_id="contract-1", depth=2).contract_id.upper()
Analyze(contract_id=7)  # arg-type
Analyze(depth=2)  # call-arg
Analyze(contract_id="contract-1", deep=2)  # call-arg
"""
RIGHT_AND_WRONG_USE = """
from jobqueue.client import Client

async def use(client: Client) -> None:
    handle = await client.enqueue(Analyze(contract_id="contract-1"), defer_by=1.5)
    outcome = await handle.result(timeout_s=5)
    print(outcome.clauses + 1)
    outcome.claws  # attr-defined
    text: str = outcome  # assignment
    await client.enqueue("analyze")  # arg-type
    await client.enqueue(Analyze(contract_id="contract-1"), priority="high")  # call-arg
    reveal_type(handle)  # note
"""
PLUGIN = "plugins = pydantic.mypy\n[pydantic-mypy]\ninit_typed = true\ninit_forbid_extra = true\n"


@pytest.mark.parametrize("plugin", ["", PLUGIN], ids=["plain", "with the plugin"])
def test_mistakes_in_tasks_and_in_the_use_of_results_are_errors_and_right_use_is_none(
    tmp_path: Path, plugin: str
) -> None:
    source = DECLARED + RIGHT_AND_WRONG_TASKS + ("" if plugin else RIGHT_AND_WRONG_USE)
    (tmp_path / "service.py").write_text(source)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nfollow_imports = silent\n{plugin}")
    options = ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
    said, broke, _ = api.run([*options, "--disallow-untyped-calls", str(tmp_path / "service.py")])
    assert not broke
    lines = source.splitlines()
    found = {(int(at), code) for at, code in re.findall(r"service\.py:(\d+): error: .*\[([a-z-]+)\]", said)}
    expected = {(number, line.rpartition("# ")[2]) for number, line in enumerate(lines, 1) if "  # " in line}
    assert found == {pair for pair in expected if pair[1] != "note"}, said
    assert plugin or "Handle[service.Outcome]" in said
