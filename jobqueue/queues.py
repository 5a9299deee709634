"""The queues as data: ``config/queues.toml``, checked at start.

Every mistake in the file is reported with the file, the key and the reason; nothing is guessed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobqueue.errors import ConfigError
from jobqueue.retry import Backoff, RetryPolicy

_DEFAULT = RetryPolicy()
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Policy(_Strict):
    backoff: Annotated[Backoff, Field(strict=False)]
    base_s: float = Field(gt=0, le=86_400)
    cap_s: float = Field(gt=0, le=86_400)
    max_attempts: int = Field(ge=1, le=1000)
    cooldown_after: int = Field(default=_DEFAULT.cooldown_after, ge=1)
    cooldown_s: float = Field(default=_DEFAULT.cooldown_s, gt=0, le=86_400)


class _Job(_Strict):
    timeout_s: float = Field(gt=0, le=7 * 86_400)
    retry: Name
    keep_result_s: float = Field(ge=0, le=365 * 86_400)


class _Queue(_Strict):
    weight: float = Field(gt=0, le=1000)
    concurrency: int = Field(ge=1, le=10_000)
    jobs: dict[Name, _Job]


class _File(_Strict):
    retry: dict[Name, _Policy]
    queues: dict[Name, _Queue]


class JobType(_Strict):
    """One job type: seconds, its retry policy, and how long its result is kept."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True, extra="forbid")

    name: str
    timeout_s: float
    policy: RetryPolicy
    keep_result_s: float


class Queue(_Strict):
    """One queue: its weight beside others in one process, how many jobs run at once, its job types by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weight: float
    concurrency: int
    jobs: Mapping[str, JobType]


def load(path: Path | None = None) -> dict[str, Queue]:
    """The queues of a file, by short name; without a path, of the file that comes with this package.

    Raises:
        ConfigError: the file can't be read or something in it is wrong.

    >>> [f"{queue.name} {queue.weight:g}" for queue in load().values()]
    ['ingest 10', 'llm 8', 'export 6', 'ocr 5', 'system 3']
    """
    where = str(path) if path else "queues.toml (built in)"
    try:
        text = path.read_text("utf-8") if path else _packaged().read_text("utf-8")
        data = tomllib.loads(text)
    except OSError as exc:
        raise ConfigError(f"{where}: can't be read ({exc.strerror}); JOBQUEUE_QUEUES_FILE names it") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{where}: is not TOML: {exc}") from exc
    return parse(data, where)


def parse(data: Mapping[str, Any], where: str) -> dict[str, Queue]:
    """The queues of parsed TOML. Raises `ConfigError` naming ``where``, the key and the reason."""
    try:
        file = _File.model_validate(data)
    except ValidationError as exc:
        reasons = [f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()]
        raise ConfigError(f"{where}: " + "; ".join(reasons)) from exc
    owners: dict[str, str] = {}
    queues = {}
    for name, queue in file.queues.items():
        jobs = {}
        for job, spec in queue.jobs.items():
            key = f"queues.{name}.jobs.{job}"
            if spec.retry not in file.retry:
                known = ", ".join(sorted(file.retry))
                raise ConfigError(f"{where}: {key}.retry: there is no policy {spec.retry!r}, but {known}")
            if job in owners:
                raise ConfigError(f"{where}: {key}: queue {owners[job]!r} has this job type already")
            owners[job] = name
            policy = RetryPolicy(**file.retry[spec.retry].model_dump())
            jobs[job] = JobType(name=job, timeout_s=spec.timeout_s, policy=policy, keep_result_s=spec.keep_result_s)
        queues[name] = Queue(name=name, weight=queue.weight, concurrency=queue.concurrency, jobs=jobs)
    if not queues:
        raise ConfigError(f"{where}: queues: at least one is needed")
    return queues


def _packaged() -> Any:
    packaged = files("jobqueue") / "_config" / "queues.toml"  # in the wheel
    return packaged if packaged.is_file() else Path(__file__).parent.parent / "config" / "queues.toml"
