"""``python -m tests.compat [--json] [--run worker|pool]``: arq's own tests against our classes.

Two runs on a real Redis: ``worker`` is our Worker under arq's pool, ``pool`` is our Worker under our Pool. Every test
is reported by name. The exit status is 0 when each has passed, was skipped by arq, or fails for a reason that
``reasons.toml`` gives; it is 1 when one fails without a reason, or a reason isn't needed any more.
"""

# ruff: noqa: T201  # a command prints
from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, get_args

from tests.compat.environment import HERE, PACKAGES, ROOT, Unprepared, prepare, redis_server, unpack
from tests.compat.verdict import Line, Run, counts, judge, read_reasons, render

RUNS: Final[tuple[Run, ...]] = get_args(Run)
_PLUGINS: Final = ("pytest_asyncio.plugin", "pytest_mock", "pytest_timeout", "jobqueue_swap")
_RUN_TIMEOUT_S: Final = 600.0
_WORTH_REPORTING: Final = {0, 1}  # pytest's: all passed, some failed


def outcomes(run: Run, archive: Path, directory: Path) -> dict[str, dict[str, str]]:
    """Run arq's tests once; what became of each.

    Raises:
        Unprepared: pytest could not run them.
    """
    directory.mkdir()
    tests = unpack(archive, directory)
    notes = directory / "notes.json"
    with redis_server(directory / "redis") as port:
        variables = {
            "PYTHONPATH": os.pathsep.join(map(str, (PACKAGES, HERE / "plugins", ROOT))),
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the project's environment has others
            "JOBQUEUE_COMPAT_RUN": run,
            "JOBQUEUE_COMPAT_PORT": str(port),
            "JOBQUEUE_COMPAT_NOTES": str(notes),
        }
        done = _pytest(tests, variables)
    found: dict[str, dict[str, str]] = json.loads(notes.read_text("utf-8")) if notes.exists() else {}
    if done.returncode not in _WORTH_REPORTING or not found:
        raise Unprepared(f"arq's tests could not be run ({run}):\n{done.stdout}{done.stderr}")
    return found


def _pytest(directory: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    plugins = [argument for plugin in _PLUGINS for argument in ("-p", plugin)]
    # -P: what is installed is imported first, not what lies in the unpacked directory.
    # -W: arq's conftest closes its connections by a name that redis-py 5 calls deprecated.
    command = [
        *(sys.executable, "-P", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *plugins),
        *("-W", "ignore:Call to deprecated close:DeprecationWarning", "tests"),
    ]
    try:
        return subprocess.run(
            command, cwd=directory, env=os.environ | variables,
            capture_output=True, text=True, timeout=_RUN_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise Unprepared(f"arq's tests did not end within {_RUN_TIMEOUT_S:g} s") from exc


def report(runs: Iterable[Run]) -> tuple[list[Line], dict[str, dict[str, Any]]]:
    """Do the runs; a line per test, and a summary per run."""
    reasons = read_reasons(HERE / "reasons.toml")
    archive = prepare()
    lines: list[Line] = []
    summary: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="jobqueue-compat-") as directory:
        for run in runs:
            started = time.monotonic()
            of_run = list(judge(run, outcomes(run, archive, Path(directory, run)), reasons.get(run, {})))
            summary[run] = counts(of_run) | {"seconds": round(time.monotonic() - started, 1)}
            lines += of_run
    return lines, summary


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="bin/test --compat", description="Run arq's own tests against our classes.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--run", choices=RUNS, help="do one run only")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with us
    try:
        lines, summary = report((options.run,) if options.run else RUNS)
    except Unprepared as exc:
        sys.exit(f"bin/test --compat: {exc}")
    if options.json:
        print(json.dumps({"summary": summary, "tests": [asdict(line) for line in lines]}, indent=2))
    else:
        print(render(lines))
        for run, of_run in summary.items():
            print(f"{run}: {', '.join(f'{value} {name}' for name, value in of_run.items())}")
    return 0 if all(line.verdict.in_order for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
