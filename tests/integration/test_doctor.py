"""``jobqueue doctor``: with nothing started, with everything there, and with one thing after another broken."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobqueue.cli import doctor
from jobqueue.cli.checks import CHECK_S, Finding, broker, examine, stores
from jobqueue.cli.main import main
from jobqueue.records.database import Database
from jobqueue.settings import Settings, load
from tests.engine_support import connected

SECRET = "Tr0ub4dor"


class Doctor:
    """The command in this process, and what it finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["jobqueue", "doctor", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def finds(self, **environment: object) -> tuple[int, dict[str, dict[str, str]]]:
        """Its exit code, and its findings by what was looked at."""
        for name, value in environment.items():
            self._monkeypatch.setenv(f"JOBQUEUE_{name.upper()}", str(value))
        code, out, err = self.run("--json")
        assert "Traceback" not in err
        document = json.loads(out)
        findings: list[dict[str, str]] = document["checks"]
        assert code == (1 if document["failed"] else 0)
        assert document["failed"] == sum(finding["state"] == "failed" for finding in findings)
        return code, {finding["check"]: finding for finding in findings}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Doctor:
    """A machine of the defaults, on which nothing was started."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"JOBQUEUE_{name.upper()}", raising=False)
    monkeypatch.setenv("JOBQUEUE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("jobqueue.telemetry.logs.configure", lambda _level: None)  # of the whole process, tests too
    return Doctor(monkeypatch, capsys)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check that starts processes, for tests of the others."""
    monkeypatch.delitem(doctor.CHECKS, "reading")


def test_a_machine_with_nothing_started_is_told_so_and_left_as_it_was(patient: Doctor, tmp_path: Path) -> None:
    code, found = patient.finds()
    assert code == 0
    assert found["redis"]["state"] == "warning"
    assert found["redis"]["advice"] == "start it: jobqueue up"
    assert "the first start makes it" in found["database"]["found"]
    assert "the first start makes it" in found["storage"]["found"]
    assert {name for name, finding in found.items() if finding["state"] == "failed"} == set()
    assert {"PDF engine", "OCR", "OCR languages", "fonts", "sandbox memory limit", "sandbox confinement"} <= set(found)
    assert not list(tmp_path.iterdir())


def test_everything_started_is_ok_but_for_workers_that_are_not_there(
    patient: Doctor, redis_url: str, tmp_path: Path
) -> None:
    async def prepare() -> None:
        (tmp_path / "data" / "blobs").mkdir(parents=True)
        records = Database(load().database_url)
        await records.migrate()
        await records.close()

    asyncio.run(prepare())
    code, found = patient.finds(redis_url=redis_url, virus_scan="off")
    assert code == 0
    assert found["redis"]["found"].startswith(("Redis ", "Valkey "))
    assert found["clock"]["state"] == "ok"
    assert found["durable writes"]["state"] == "ok"
    assert ", schema " in found["database"]["found"]
    assert "takes, gives and deletes files" in found["storage"]["found"]
    assert found["workers of llm"]["state"] == "warning"
    assert found["workers of llm"]["advice"] == "start one: jobqueue worker llm"
    assert [path.name for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("quick")
def test_people_get_a_table_and_the_exit_code(patient: Doctor, tmp_path: Path) -> None:
    code, out, _ = patient.run()
    assert code == 0
    assert "What to do" in out
    (tmp_path / "data").write_text("a file in the directory's place")
    code, out, err = patient.run()
    assert code == 1
    assert "failed" in out
    assert "checks failed, with" in err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("environment", "check", "says"),
    [
        ({"port": "many"}, "settings", "JOBQUEUE_PORT"),
        ({"queues_file": "/nowhere/queues.toml"}, "settings", "queues.toml"),
        ({"redis_url": f"redis://me:{SECRET}@127.0.0.1:1"}, "redis", "redis://127.0.0.1:1 doesn't answer"),
        ({"database_url": f"postgresql://me:{SECRET}@127.0.0.1:1/jobs"}, "database", "database jobs at 127.0.0.1:1"),
        ({"database_url": f"oracle://me:{SECRET}@db/jobs"}, "database", "not supported"),
        ({"storage_url": "s3://bucket"}, "storage", "not a known kind"),
        ({"storage_url": "file:///dev/null/blobs"}, "storage", "can't be made in /dev/null"),
        ({"virus_scan": "required", "clamd_url": "tcp://127.0.0.1:1"}, "virus scan", "can't be reached"),
        ({"max_upload_bytes": 10**18}, "disk of data", "GB are free"),
    ],
)
def test_what_is_broken_fails_by_name_and_shows_no_secret(
    patient: Doctor, environment: dict[str, object], check: str, says: str
) -> None:
    code, found = patient.finds(**environment)
    assert code == 1
    assert found[check]["state"] == "failed"
    assert says in found[check]["found"]
    assert SECRET not in json.dumps(found)


@pytest.mark.usefixtures("quick")
def test_a_scanner_that_is_away_and_may_be_is_a_warning(patient: Doctor) -> None:
    code, found = patient.finds(clamd_url="tcp://127.0.0.1:1")
    assert code == 0
    assert found["virus scan"]["state"] == "warning"


def test_an_engine_and_a_language_that_are_missing_are_named(patient: Doctor) -> None:
    _, found = patient.finds(ocr_languages="eng+tlh")
    assert "install tesseract-ocr-tlh" in found["OCR languages"]["found"]


@pytest.mark.usefixtures("quick")
def test_few_open_files_are_a_warning(patient: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (512, 4096))
    _, found = patient.finds()
    assert found["open files"]["state"] == "warning"
    assert found["open files"]["found"] == "512 a process, of 4,096 allowed"


@pytest.mark.usefixtures("quick")
def test_an_older_schema_is_a_warning_and_is_not_migrated(patient: Doctor, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jobqueue.db").touch()
    for _ in range(2):
        _, found = patient.finds()
        assert found["database"]["state"] == "warning"
        assert "has schema none" in found["database"]["found"]


async def test_clocks_apart_are_told(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for apart_s, state in ((0.0, "ok"), (2.0, "warning"), (-60.0, "failed")):
        monkeypatch.setattr(broker, "time", SimpleNamespace(time=lambda apart_s=apart_s: real() + apart_s))
        config = load(redis_url=redis_url)
        clock = next(finding for finding in await broker.broker(config) if finding.check == "clock")
        assert clock.state == state


async def test_a_redis_that_forgets_or_evicts_is_told(redis_url: str) -> None:
    async with connected(redis_url) as pool:
        before = await pool.config_get("maxmemory*")
        await pool.config_set("maxmemory", "1gb")
        await pool.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = {finding.check: finding for finding in await broker.broker(load(redis_url=redis_url))}
        finally:
            await pool.config_set("maxmemory-policy", before["maxmemory-policy"])
            await pool.config_set("maxmemory", before["maxmemory"])
    assert found["redis memory"].state == "failed"
    assert found["redis memory"].advice == "set 'maxmemory-policy noeviction'"


async def test_a_check_that_hangs_ends_and_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: Settings) -> list[Finding]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("jobqueue.cli.checks.CHECK_S", 0.05)
    found = await examine(load(), {"hanging": hang, "disk": stores.disk})
    assert [finding.state for finding in found][:1] == ["failed"]
    assert found[0].found == "no answer within 0.05 s"
    assert {finding.check for finding in found[1:]} == {"disk of data", "disk of temporary files"}
    assert CHECK_S == 5
