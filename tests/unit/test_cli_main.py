"""The command's front: what it offers, how soon it answers, and how it fails."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from jobqueue.cli.main import COMMANDS, cli, main

COMMAND = (sys.executable, "-m", "jobqueue.cli.main")


def test_the_table_of_commands_says_what_the_commands_say_themselves() -> None:
    context = click.Context(cli)
    for name, line in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert str(command.help).replace("\n", " ").startswith(line.removesuffix(".")), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert leaf is not None
        assert "--json" in [option for parameter in leaf.params for option in parameter.opts]


def test_help_takes_little_time_and_imports_no_heavy_library() -> None:
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "sys.argv[1:] = ['--help']\n"
        "from jobqueue.cli.main import main\n"
        "main()\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Commands:" in done.stdout
    assert {"arq", "redis", "aiohttp", "rich", "pydantic", "PIL"}.isdisjoint(json.loads(done.stderr))
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["submit"],
        ["worker"],
        ["worker", "ocr", "--all"],
        ["up", "--port", "70000"],
        ["dead", "replay"],
        ["dead", "replay", "--all"],
        ["dead", "discard", "ocr-1", "--queue", "ocr"],
        ["dead", "replay", "--all", "--queue", "ocr", "--rate", "nan"],
        ["dead", "replay", "--all", "--queue", "ocr", "--rate", "0/s"],
    ],
)
def test_wrong_usage_is_explained_and_exits_with_2(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code(arguments, monkeypatch) == 2
    assert "Error: " in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBQUEUE_PORT", "many")
    assert _exit_code(["status"], monkeypatch) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("jobqueue: settings are wrong: JOBQUEUE_PORT: ")


def test_a_file_in_the_place_of_the_data_directory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").write_text("a file")
    monkeypatch.setenv("JOBQUEUE_DATA_DIR", str(tmp_path / "data"))
    assert _exit_code(["up"], monkeypatch) == 1
    assert capsys.readouterr().err == f"jobqueue: {tmp_path / 'data'}: File exists\n"


def test_a_reader_that_goes_away_ends_the_command_without_a_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*COMMAND, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def _exit_code(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["jobqueue", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code
