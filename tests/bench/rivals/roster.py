"""Who takes part, in which environment, at which setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One library under test.

    Attributes:
        package: whose version is printed.
        jobs: how many no-op jobs a round has; more than it does in a round's time cap are of no use.
        setting: what was chosen, for the printed notes.
        recovery: what its restart of a dead worker's job rests on: by default, and tuned to a short lease.
    """

    name: str
    package: str
    jobs: int
    setting: str
    recovery: str

    @property
    def node(self) -> bool:
        """Whether it runs on Node instead of Python."""
        return self.name == "bullmq"


OURS: Final = "ours"

CONTENDERS: Final = (
    Contender(
        name=OURS, package="jobqueue", jobs=60_000,
        setting="100 slots; everything on: leases, retries, events, results kept, aborting, three hooks",
        recovery="lease 10 s",
    ),
    Contender(
        name="arq", package="arq", jobs=6_000,
        setting="max_jobs=100, poll_delay=0.01 (default 0.5), keep_result=0",
        recovery="job_timeout 300 s + 10 s; tuned: job_timeout 10 s",
    ),
    Contender(
        name="saq", package="saq", jobs=5_000,
        setting="concurrency=100, ttl=-1, hiredis",
        recovery="retries=3, timeout 10 s, sweep every 60 s; tuned: sweep every 5 s",
    ),
    Contender(
        name="streaq", package="streaq", jobs=6_000,
        setting="concurrency=100 and as many prefetched, ttl=0",
        recovery="idle_timeout 60 s; tuned: 10 s",
    ),
    Contender(
        name="taskiq", package="taskiq-redis", jobs=6_000,
        setting="RedisStreamBroker, --max-async-tasks 100, xread_count=100, no results, uvloop",
        recovery="idle_timeout 600 s; tuned: 10 s; unacknowledged_lock_timeout 5 s",
    ),
    Contender(
        name="celery", package="celery", jobs=3_000,
        setting="prefork, -c 1, prefetch 100, ignore_result, no gossip, mingle, heartbeat, events",
        recovery="acks_late, reject_on_worker_lost, visibility_timeout 3600 s; tuned: 10 s, looked at every second",
    ),
    Contender(
        name="dramatiq", package="dramatiq", jobs=3_000,
        setting="8 threads, no results, middleware: AgeLimit, TimeLimit, Retries as by default",
        recovery="heartbeat_timeout 60 s, looked at by one call in 1,000; tuned: 10 s, one in 10",
    ),
    Contender(
        name="rq", package="rq", jobs=1_500,
        setting="SimpleWorker (no fork), result_ttl=0",
        recovery="forking Worker, Retry(3); abandoned after 90 s, looked for every 600 s; tuned: 62 s, every 10 s",
    ),
    Contender(
        name="docket", package="pydocket", jobs=4_000,
        setting="concurrency=100, minimum_check_interval=0.01 (default 0.25), execution_ttl=0",
        recovery="redelivery_timeout 300 s; tuned: 10 s",
    ),
    Contender(
        name="bullmq", package="bullmq", jobs=10_000,
        setting="Node, concurrency=100, removeOnComplete",
        recovery="lockDuration and stalledInterval 30 s; tuned: 5 s each",
    ),
)  # fmt: skip
