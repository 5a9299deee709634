"""Structured logs: one JSON object a line on standard error, from this project, arq and every library alike.

What a line may hold is bounded, because job arguments, file names and error messages come from anybody: a traceback to
16,000 characters, every other text to 8,000, both cut from the middle.
"""

from __future__ import annotations

import logging
import logging.config
import math
import sys
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo

from jobqueue.job import format_traceback

MAX_TEXT_CHARS: Final = 8_000

_MAX_DEPTH: Final = 4
_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def _formatter(*, pretty: bool) -> logging.Formatter:
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _bounded,
            structlog.processors.ExceptionRenderer(_traceback),
            renderer,
            _encodable,
        ],
    )


def _bounded(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Plain data of bounded text for all that a line holds, but for the exception, which has a bound of its own."""
    return {_cut(str(key)): value if key == "exc_info" else _plain(value) for key, value in event.items()}


def _plain(value: object, depth: int = 0) -> object:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {_cut(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_plain(item, depth + 1) for item in value]
    try:
        return _cut(str(value))
    except Exception as exc:  # noqa: BLE001  # whatever is logged, the line has to come out
        return f"({type(value).__name__}: its text can't be told: {type(exc).__name__})"


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARS:
        return text
    half = MAX_TEXT_CHARS // 2
    return f"{text[:half]}… {len(text) - 2 * half} characters left out …{text[-half:]}"


def _traceback(exc_info: ExcInfo) -> str:
    return format_traceback(exc_info[1])


def _encodable(_logger: object, _method: str, line: Any) -> str:
    """The rendered line with ``?`` for lone surrogates, which a strict stream would refuse to write."""
    return str(line).encode("utf-8", "replace").decode()


def config(level: str = "INFO", *, pretty: bool = False, stream: TextIO | None = None) -> dict[str, Any]:
    """A ``logging.config`` dictionary; ``pretty`` is for a person at a terminal; no ``stream``: standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": _formatter, "pretty": pretty}},
        "handlers": {
            "lines": {"class": "logging.StreamHandler", "formatter": "structured", "stream": stream or sys.stderr},
        },
        "root": {"handlers": ["lines"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in ("aiosqlite", "alembic", "asyncio", "PIL")},
    }


def arq_config(verbose: bool) -> dict[str, Any]:
    """What arq's command asks `arq.logs.default_log_config` for; ``verbose`` is its ``--verbose``."""
    return config("DEBUG" if verbose else logging.getLevelName(logging.getLogger("jobqueue").level or logging.INFO))


def configure(level: str = "INFO", *, pretty: bool = False, stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (standard error) as JSON (or, ``pretty``, for a person)."""
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(capture=True)
    logging.config.dictConfig(config(level, pretty=pretty, stream=stream))
    logging.getLogger("jobqueue").setLevel(level)
    if not pretty:
        sys.excepthook = _log_crash


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last line of a process that dies of an exception, in the same form as all the others."""
    structlog.get_logger("jobqueue").critical("process.crashed", exc_info=(kind, error, trace))
