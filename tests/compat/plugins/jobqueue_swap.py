"""pytest plugin for arq's tests: puts our classes where they expect arq's, and notes what became of each test.

It is loaded by ``-p jobqueue_swap`` before the tests are imported, in their process, where ``tests`` is arq's package:
so it stands alone and is told by the environment what to do.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import arq
import arq.connections
import arq.worker
import pytest

from jobqueue.broker.connection import Pool
from jobqueue.engine.worker import Worker

Serializer = Callable[[dict[str, Any]], bytes]


class PicklingPool(Pool):
    """Our pool with arq's default codec, which is what arq's ``create_pool`` means by a serialiser of None."""

    _serializer: Serializer | None = None

    @property
    def job_serializer(self) -> Serializer:
        """What packs a job."""
        return self._serializer or pickle.dumps

    @job_serializer.setter
    def job_serializer(self, serializer: Serializer | None) -> None:
        self._serializer = serializer


class RunningRedis:
    """Stands for testcontainers' class: the server runs already, and needs no Docker."""

    port = 6379

    def __init__(self, image: str) -> None:
        self.image = image

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_container_host_ip(self) -> str:
        return "127.0.0.1"

    def get_exposed_port(self, _: int) -> int:
        return int(os.environ["JOBQUEUE_COMPAT_PORT"])


class Notes:
    """Collects one entry a test: its outcome, and why it failed or was skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tests: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = self.tests.setdefault(report.nodeid, {"outcome": "passed", "detail": ""})
        if report.failed:
            entry |= {"outcome": "failed", "detail": str(report.longrepr)}
        elif report.skipped and entry["outcome"] != "failed":
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            entry |= {"outcome": "skipped", "detail": reason.removeprefix("Skipped: ")}

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.tests), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Swap before arq's conftest is imported."""
    module = ModuleType("testcontainers.redis")
    module.RedisContainer = RunningRedis  # type: ignore[attr-defined]  # a module made here
    sys.modules["testcontainers"] = ModuleType("testcontainers")
    sys.modules["testcontainers.redis"] = module
    _disable(arq.worker.Worker, "main", "_poll_iteration", "start_jobs", "run_job")
    arq.worker.Worker = arq.Worker = Worker  # type: ignore[misc]  # what this is for
    if os.environ["JOBQUEUE_COMPAT_RUN"] == "pool":
        _disable(arq.connections.ArqRedis, "enqueue_job")
        arq.connections.ArqRedis = arq.ArqRedis = PicklingPool  # type: ignore[misc]  # as above
    early_config.pluginmanager.register(Notes(Path(os.environ["JOBQUEUE_COMPAT_NOTES"])))


def _disable(stock: type, *methods: str) -> None:
    """Make sure that a test which gets past the swap fails: what ours replaces must not run."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(f"arq's own {stock.__name__} was used")

    for method in methods:
        assert hasattr(stock, method), f"{stock.__name__}.{method} is gone: look at what takes its place"
        setattr(stock, method, refuse)
