"""The log: every line one JSON object, whoever wrote it, of bounded length and whatever it holds."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from jobqueue.telemetry import logs

MAX_TRACEBACK_CHARS = 16_100  # with the note about what was left out
MAX_TEXT_CHARS = 8_100


class Log(io.TextIOWrapper):
    """A strict UTF-8 stream, as a log file is."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="\n")

    def lines(self) -> list[dict[str, Any]]:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return [json.loads(line) for line in self.buffer.getvalue().decode().split("\n")[:-1]]


class Untellable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _fail(message: str) -> None:
    raise ValueError(message)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """The configured log; the process's own logging is as before afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("jobqueue")
    before = root.handlers[:], root.level, ours.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    stream = Log()
    with warnings.catch_warnings():  # the standard library's capture isn't undone by itself
        logs.configure("INFO", stream=stream)
        yield stream
        logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_our_loggers_and_arqs_write_the_same_form(log: Log) -> None:
    structlog.get_logger("jobqueue.test").info(
        "job.succeeded", job="ocr-1", took_s=0.25, at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    logging.getLogger("arq.worker").warning("%6.2fs → %s(%s)", 1.5, "ocr_page", "‘Grundbuch’")
    ours, arqs = log.lines()
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "job.succeeded",
        "job": "ocr-1",
        "took_s": 0.25,
        "at": "2026-01-02 00:00:00+00:00",
        "logger": "jobqueue.test",
        "level": "info",
    }
    assert arqs.pop("timestamp").endswith("Z")
    assert arqs == {"event": "  1.50s → ocr_page(‘Grundbuch’)", "logger": "arq.worker", "level": "warning"}


def test_the_level_holds_for_both_kinds(log: Log) -> None:
    structlog.get_logger("jobqueue.test").debug("hidden")
    logging.getLogger("arq.worker").debug("hidden")
    assert log.lines() == []


def test_what_is_bound_to_the_context_is_on_every_line(log: Log) -> None:
    with structlog.contextvars.bound_contextvars(job="ocr-1"):
        structlog.get_logger("jobqueue.test").info("ours")
        logging.getLogger("arq.worker").info("theirs")
    assert [line["job"] for line in log.lines()] == ["ocr-1", "ocr-1"]


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_traceback_is_cut_from_its_middle(log: Log, whose: str) -> None:
    logger = structlog.get_logger("jobqueue.test") if whose == "ours" else logging.getLogger("arq.worker")
    try:
        _fail("m" * 1_000_000 + " the end")
    except ValueError:
        logger.exception("job.failed")
    [line] = log.lines()
    assert line["event"] == "job.failed"
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert "characters left out" in line["exception"]
    assert line["exception"].endswith("m the end\n")
    assert 16_000 <= len(line["exception"]) < MAX_TRACEBACK_CHARS
    assert "exc_info" not in line


def test_a_short_traceback_is_whole(log: Log) -> None:
    error = ValueError("bad date")
    structlog.get_logger("jobqueue.test").error("job.failed", exc_info=error)
    [line] = log.lines()
    assert line["exception"] == "ValueError: bad date\n"


def test_every_other_text_is_cut_wherever_it_stands(log: Log) -> None:
    long = "x" * 1_000_000
    structlog.get_logger("jobqueue.test").info(
        long, name=long, exception=long, nested={"list": [long, (long,)], long: 1}, other=OSError(long)
    )
    logging.getLogger("arq.worker").info("job %s", long)
    ours, arqs = log.lines()
    assert "x… 992000 characters left out …x" in ours["event"]
    nested = ours["nested"]
    texts = [ours["event"], ours["name"], ours["exception"], ours["other"], arqs["event"]]
    for text in [*texts, nested["list"][0], nested["list"][1][0], *nested]:
        assert len(text) < MAX_TEXT_CHARS
    assert len(json.dumps(ours)) < 10 * MAX_TEXT_CHARS


def test_lone_surrogates_and_line_breaks_dont_break_a_line(log: Log) -> None:
    name = "scan\udcff\n2024.pdf"
    structlog.get_logger("jobqueue.test").info("upload.stored", name=name, **{name: 1})
    logging.getLogger("arq.worker").error("can't read %s", name, exc_info=OSError(name))
    ours, arqs = log.lines()
    assert ours["name"] == "scan?\n2024.pdf"
    assert ours["scan?\n2024.pdf"] == 1
    assert arqs["event"] == "can't read scan?\n2024.pdf"
    assert "scan?\n2024.pdf" in arqs["exception"]


def test_values_that_json_has_no_form_for_dont_break_a_line(log: Log) -> None:
    endless: list[object] = []
    endless.append(endless)
    structlog.get_logger("jobqueue.test").info(
        "odd", endless=endless, silent=Untellable(), keys={(1, 2): "pair"}, raw=b"\xff", nan=float("nan")
    )
    [line] = log.lines()
    assert line["silent"] == "(Untellable: its text can't be told: RuntimeError)"
    assert line["keys"] == {"(1, 2)": "pair"}
    assert line["raw"] == "b'\\xff'"
    assert line["nan"] == "nan"
    assert line["event"] == "odd"


def test_a_warning_of_python_is_a_line_too(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("this will go", DeprecationWarning, stacklevel=1)
    [line] = log.lines()
    assert line["logger"] == "py.warnings"
    assert "this will go" in line["event"]


def test_for_a_person_it_is_text_with_the_same_bounds(log: Log) -> None:
    logs.configure("INFO", pretty=True, stream=log)
    structlog.get_logger("jobqueue.test").error("job.failed", name="x" * 100_000, exc_info=ValueError("bad date"))
    log.flush()
    assert isinstance(log.buffer, io.BytesIO)
    text = log.buffer.getvalue().decode()
    assert "job.failed" in text
    assert "ValueError: bad date" in text
    assert len(text) < MAX_TEXT_CHARS + 500


@pytest.mark.parametrize(("verbose", "level"), [(True, "DEBUG"), (False, "INFO")])
def test_arqs_command_gets_the_same_configuration(log: Log, verbose: bool, level: str) -> None:
    assert logs.arq_config(verbose) == logs.config(level)


def test_a_process_that_dies_of_an_exception_says_so_in_one_bounded_line_on_standard_error() -> None:
    program = (
        "from jobqueue.telemetry import logs; logs.configure(); raise ValueError('m' * 100_000 + '\\udcff the end')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    [line] = ended.stderr.decode().splitlines()
    crash = json.loads(line)
    assert ended.returncode == 1
    assert crash["event"] == "process.crashed"
    assert crash["level"] == "critical"
    assert crash["exception"].endswith("m? the end\n")
    assert len(crash["exception"]) < MAX_TRACEBACK_CHARS
