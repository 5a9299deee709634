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

from jobqueue.errors import ConfigError, InvalidInput
from jobqueue.limits import Limit, checked_scope, limit_of
from jobqueue.retry import Backoff, RetryPolicy
from jobqueue.scheduling import NAME, Missed, Schedule, checked

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
    tenants_may_schedule: bool = False


class _Limit(_Strict):
    concurrency: int | None = None
    rate: str | None = None
    burst: int | None = None
    weight: float | None = None


class _Queue(_Strict):
    weight: float = Field(gt=0, le=1000)
    concurrency: int = Field(ge=1, le=10_000)
    jobs: dict[Name, _Job]
    limits: dict[str, _Limit] = Field(default_factory=dict)


class _Schedule(_Strict):
    cron: str
    queue: Name
    job: Name
    timezone: str = "UTC"
    kwargs: dict[str, Any] = Field(default_factory=dict)
    missed: Annotated[Missed, Field(strict=False)] = Missed.SKIP
    jitter_s: float = 0.0


class _File(_Strict):
    retry: dict[Name, _Policy]
    queues: dict[Name, _Queue]
    schedules: dict[Annotated[str, Field(pattern=f"^{NAME}$")], _Schedule] = Field(default_factory=dict)


class JobType(_Strict):
    """One job type: seconds, its retry policy, how long its result is kept, and whether tenants may schedule it."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True, extra="forbid")

    name: str
    timeout_s: float
    policy: RetryPolicy
    keep_result_s: float
    tenants_may_schedule: bool = False


class Queue(_Strict):
    """One queue: its weight beside others in one process, how many jobs run there at once, its job types by name.

    ``limits`` hold over all processes, by scope (`jobqueue.limits`).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True, extra="forbid")

    name: str
    weight: float
    concurrency: int
    jobs: Mapping[str, JobType]
    limits: Mapping[str, Limit] = Field(default_factory=dict)


def load(path: Path | None = None) -> dict[str, Queue]:
    """The queues of a file, by short name; without a path, of the file that comes with this package.

    Raises:
        ConfigError: the file can't be read or something in it is wrong.

    >>> [f"{queue.name} {queue.weight:g}" for queue in load().values()]
    ['ingest 10', 'llm 8', 'export 6', 'ocr 5', 'system 3']
    """
    return parse(*_read(path))


def load_schedules(path: Path | None = None) -> dict[str, Schedule]:
    """The schedules of the same file, by name. Raises as `load`.

    >>> load_schedules()["expire"].cron
    '17 * * * *'
    """
    return parse_schedules(*_read(path))


def _read(path: Path | None) -> tuple[dict[str, Any], str]:
    where = str(path) if path else "queues.toml (built in)"
    try:
        text = path.read_text("utf-8") if path else _packaged().read_text("utf-8")
        return tomllib.loads(text), where
    except OSError as exc:
        raise ConfigError(f"{where}: can't be read ({exc.strerror}); JOBQUEUE_QUEUES_FILE names it") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{where}: is not TOML: {exc}") from exc


def parse(data: Mapping[str, Any], where: str) -> dict[str, Queue]:
    """The queues of parsed TOML. Raises `ConfigError` naming ``where``, the key and the reason."""
    file = _checked_file(data, where)
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
            jobs[job] = JobType(name=job, policy=policy, **spec.model_dump(exclude={"retry"}))
        limits = {scope: _limit(scope, spec, f"{where}: queues.{name}") for scope, spec in queue.limits.items()}
        queues[name] = Queue(name=name, weight=queue.weight, concurrency=queue.concurrency, jobs=jobs, limits=limits)
    if not queues:
        raise ConfigError(f"{where}: queues: at least one is needed")
    return queues


def _limit(scope: str, spec: _Limit, where: str) -> Limit:
    try:
        limit = limit_of(spec.model_dump())
        checked_scope(scope, limit)
    except InvalidInput as exc:
        raise ConfigError(f'{where}.limits."{scope[:80]}": {exc}') from exc
    return limit


def parse_schedules(data: Mapping[str, Any], where: str) -> dict[str, Schedule]:
    """The schedules of parsed TOML. Raises `ConfigError` as `parse`."""
    queues = parse(data, where)
    schedules = {}
    for name, spec in _checked_file(data, where).schedules.items():
        try:
            schedules[name] = checked(Schedule(**spec.model_dump()))
            check_job(schedules[name], queues)
        except InvalidInput as exc:
            raise ConfigError(f"{where}: schedules.{name}: {exc}") from exc
    return schedules


def check_job(schedule: Schedule, queues: Mapping[str, Queue | None], *, by_tenant: bool = False) -> None:
    """Check that there is the job to be scheduled, and that a tenant may; None: that queue's job types aren't known.

    Raises:
        InvalidInput: names those that there are.
    """
    known: dict[str, list[str] | None] = {}
    for name, queue in queues.items():
        jobs = queue.jobs.values() if queue else ()
        open_ = [job.name for job in jobs if job.tenants_may_schedule or not by_tenant]
        known[name] = open_ if queue or by_tenant else None
    usable = [name for name, names in known.items() if names is None or names]
    if schedule.queue not in usable:
        raise InvalidInput(f"queue {schedule.queue!r}: there is {', '.join(usable) or 'none to schedule jobs on'}")
    names = known[schedule.queue]
    if names is not None and schedule.job not in names:
        raise InvalidInput(f"job {schedule.job!r}: queue {schedule.queue!r} has {', '.join(names)}")


def _checked_file(data: Mapping[str, Any], where: str) -> _File:
    try:
        return _File.model_validate(data)
    except ValidationError as exc:
        reasons = [f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()]
        raise ConfigError(f"{where}: " + "; ".join(reasons)) from exc


def _packaged() -> Any:
    packaged = files("jobqueue") / "_config" / "queues.toml"  # in the wheel
    return packaged if packaged.is_file() else Path(__file__).parent.parent / "config" / "queues.toml"
