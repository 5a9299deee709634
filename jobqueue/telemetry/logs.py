"""Structured logs: one JSON object a line on standard error, from this project, arq and every library alike."""

from __future__ import annotations

import logging
import logging.config
import sys
from types import TracebackType
from typing import Any, Final

import structlog

_SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]


def _formatter(*, pretty: bool) -> logging.Formatter:
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if pretty
        else structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.PositionalArgumentsFormatter()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def config(level: str = "INFO", *, pretty: bool = False) -> dict[str, Any]:
    """A ``logging.config`` dictionary; ``pretty`` is for a person at a terminal."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": _formatter, "pretty": pretty}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "structured", "stream": sys.stderr},
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in ("aiosqlite", "alembic", "asyncio", "PIL")},
    }


def arq_config(verbose: bool) -> dict[str, Any]:
    """What arq's command asks `arq.logs.default_log_config` for; ``verbose`` is its ``--verbose``."""
    return config("DEBUG" if verbose else logging.getLevelName(logging.getLogger("jobqueue").level or logging.INFO))


def configure(level: str = "INFO", *, pretty: bool = False) -> None:
    """Send every log line of this process to standard error as JSON (or, ``pretty``, for a person)."""
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(capture=True)
    logging.config.dictConfig(config(level, pretty=pretty))
    logging.getLogger("jobqueue").setLevel(level)
    if not pretty:
        sys.excepthook = _log_crash


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last line of a process that dies of an exception, in the same form as all the others."""
    structlog.get_logger("jobqueue").critical("process.crashed", exc_info=(kind, error, trace))
