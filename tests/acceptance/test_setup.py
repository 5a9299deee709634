"""A clone sets itself up: the scripts are quick where there is nothing to do, and the lock is whole and plain."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMED = [
    *PYPROJECT["build-system"]["requires"],
    *PYPROJECT["project"]["dependencies"],
    *(line for extra in PYPROJECT["project"]["optional-dependencies"].values() for line in extra),
]


def _lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _pins() -> dict[str, str]:
    """Canonical name → pinned version."""
    pins: dict[str, str] = {}
    for line in _lock_lines():
        requirement = Requirement(line)
        [pin] = requirement.specifier
        pins[canonicalize_name(requirement.name)] = pin.version
    return pins


def test_the_lock_pins_by_name_and_version_and_holds_no_address() -> None:
    for line in _lock_lines():
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.+!]*( ; [^:/@\\]+)?", line), line
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("named", NAMED)
def test_the_lock_pins_what_the_project_names(named: str) -> None:
    requirement = Requirement(named)
    pinned = _pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"{requirement.name} is missing: run bin/lock"
    assert requirement.specifier.contains(pinned), f"{requirement.name} {pinned} is not what pyproject.toml asks for"


def test_a_second_setup_says_and_changes_nothing_and_takes_less_than_a_second(tmp_path: Path) -> None:
    stamp = ROOT / ".venv" / "ingredients"
    if not stamp.exists():
        pytest.fail("these tests run in the environment that bin/setup makes: start them with bin/test")
    made_at = stamp.stat().st_mtime_ns
    started = time.monotonic()
    again = subprocess.run([ROOT / "bin" / "setup"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 1.0
    assert again.stdout == again.stderr == ""
    assert stamp.stat().st_mtime_ns == made_at


def test_without_a_recent_python_setup_says_what_to_install(tmp_path: Path) -> None:
    run = _setup_on_a_bare_machine(tmp_path, programs={"tesseract": "echo eng", "python3": "exit 1"})
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == "setup: install Python 3.11 or later, or name one: PYTHON=/path/to/python bin/setup\n"


def test_without_tesseract_and_a_way_to_install_it_setup_says_so_in_one_line(tmp_path: Path) -> None:
    run = _setup_on_a_bare_machine(tmp_path, programs={})
    assert run.returncode == 1
    assert run.stdout == ""
    assert re.fullmatch(r"setup: install Tesseract OCR with English .*, then run bin/setup again\n", run.stderr)


def _setup_on_a_bare_machine(directory: Path, *, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a copy of bin/setup where PATH holds the bare tools and ``programs`` (name → shell script) alone."""
    clone, tools = directory / "clone", directory / "tools"
    (clone / "bin").mkdir(parents=True)
    (clone / "bin" / "setup").write_bytes((ROOT / "bin" / "setup").read_bytes())
    tools.mkdir()
    for name in ("cat", "cmp", "dirname", "env", "grep", "id", "mktemp", "rm"):
        program = shutil.which(name)
        assert program is not None
        (tools / name).symlink_to(program)
    for name, body in programs.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, clone / "bin" / "setup"], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
