"""What the engine says about jobs: arq's own lines, or events with fields.

arq's lines are asserted by its test suite and show arguments; ours never show any (they may hold personal data), and
say at debug what happens to every job, so that the hot path stays silent at info.
"""

from __future__ import annotations

import logging
from typing import Protocol

import structlog
from arq.utils import args_to_string, timestamp_ms, truncate

from jobqueue.engine.outcomes import Buried, Cancelled, Held, Lost, Outcome, Retrying, Returned, Succeeded
from jobqueue.job import class_name, error_text
from jobqueue.typed import masked


class JobLog(Protocol):
    """One call per turn of a job's life."""

    def started(self, held: Held) -> None: ...
    def ended(self, held: Held, outcome: Outcome) -> None: ...


class EventLog:
    """Structured events: success at debug, everything that needs a look above it."""

    def __init__(self, queue: str) -> None:
        self._log = structlog.stdlib.get_logger("jobqueue.engine").bind(queue=queue)
        self._debug = logging.getLogger("jobqueue.engine").isEnabledFor(logging.DEBUG)

    def started(self, held: Held) -> None:
        if self._debug:
            self._log.debug("job.started", job_id=held.id, function=held.function, attempt=held.attempt)

    def ended(self, held: Held, outcome: Outcome) -> None:
        if isinstance(outcome, Succeeded) and not self._debug:
            return
        log = self._log.bind(
            job_id=held.id,
            function=held.function,
            attempt=held.attempt,
            seconds=round((held.finished_ms - (held.started_ms or held.finished_ms)) / 1000, 3),
            **{key: held.meta[key] for key in ("flow", "tenant", "trace") if key in held.meta},
        )
        match outcome:
            case Succeeded():
                log.debug("job.succeeded")
            case Retrying(delay_s, error):
                name = class_name(type(error)) if error else None
                log.warning(
                    "job.retrying",
                    delay_s=round(delay_s, 3),
                    error_class=name,
                    error=error_text(error) if error else "",
                )
            case Returned(why, delay_s):
                log.info("job.returned", why=why, delay_s=delay_s)
            case Buried(error, reason):
                expected = reason == "permanent"
                log.error(
                    "job.buried", reason=reason, error_class=class_name(type(error)), error=error_text(error),
                    exc_info=None if expected else error,
                )  # fmt: skip
            case Cancelled():
                log.info("job.cancelled")
            case Lost():
                log.warning("job.lost", error="another worker owns this job now; what was done here is not recorded")


class ArqLog:
    """arq's messages, under arq's logger."""

    def __init__(self, *, log_results: bool) -> None:
        self._log = logging.getLogger("arq.worker")
        self._log_results = log_results

    def started(self, held: Held) -> None:
        extra = f" try={held.attempt}" if held.attempt > 1 else ""
        late_ms = held.started_ms - held.score
        if late_ms > 1200:  # noqa: PLR2004  # arq's own threshold
            extra += f" delayed={late_ms / 1000:0.2f}s"
        waited_s = (held.started_ms - held.enqueued_ms) / 1000
        arguments = args_to_string(masked(held.args), masked(held.kwargs))
        self._log.info("%6.2fs → %s(%s)%s", waited_s, held.ref, arguments, extra)

    def ended(self, held: Held, outcome: Outcome) -> None:
        t = (held.finished_ms - held.started_ms) / 1000
        log = self._log
        match outcome:
            case Succeeded(value):
                shown = "" if value is None or not self._log_results else truncate(repr(value))
                log.info("%6.2fs ← %s ● %s", t, held.ref, shown)
            case Retrying(_, None):
                log.info("%6.2fs ↻ %s cancelled, will be run again", t, held.ref)
            case Retrying(delay_s):
                log.info("%6.2fs ↻ %s retrying job in %0.2fs", t, held.ref, delay_s)
            case Cancelled() if held.started_ms == 0:
                waited_s = (timestamp_ms() - held.enqueued_ms) / 1000
                log.info("%6.2fs ⊘ %s aborted before start", waited_s, held.ref)
            case Cancelled():
                log.info("%6.2fs ⊘ %s aborted", t, held.ref)
            case Buried(error, "expired"):
                log.warning("job %s expired", held.id)
            case Buried(error, "unreadable"):
                log.error("deserializing job %s failed", held.id, exc_info=error)
            case Buried(error, "unknown"):
                log.warning("job %s, function %r not found", held.id, held.function)
            case Buried(_, "exhausted") if held.started_ms == 0:
                waited_s = (timestamp_ms() - held.enqueued_ms) / 1000
                log.warning("%6.2fs ! %s max retries %d exceeded", waited_s, held.ref, held.attempt - 1)
            case Buried(error):
                extra = getattr(error, "extra", None)
                log.error(
                    "%6.2fs ! %s failed, %s: %s", t, held.ref, type(error).__name__, error, exc_info=error,
                    extra={"extra": extra() if callable(extra) else extra},
                )  # fmt: skip
            case Returned() | Lost():
                log.info("%6.2fs ↻ %s given back", t, held.ref)
