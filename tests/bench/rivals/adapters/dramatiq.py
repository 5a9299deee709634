"""Dramatiq, results off; one process of eight threads, its default; its own command."""

from __future__ import annotations

import os
import sys
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from dramatiq.results.errors import ResultMissing

from tests.bench.rivals.adapters import common

MODULE = "tests.bench.rivals.adapters.dramatiq"


def broker_of(options: common.Options) -> Any:
    tuned: dict[str, Any] = {}
    if options.lease_s:  # a dead worker's messages go back by a chance of one in a thousand calls; here one in ten
        tuned = {"heartbeat_timeout": options.lease_s * 1000, "maintenance_chance": 100_000}
    broker: Any = RedisBroker(url=options.url, **tuned)
    if options.keep_results:
        broker.add_middleware(Results(backend=RedisBackend(url=options.url), store_results=True))
    return broker


broker = broker_of(common.read_options())
JOBS = {"noop": common.noop, "hello": common.hello, "pickup": common.pickup, "work": common.work_blocking}
ACTORS: dict[str, Any] = {name: dramatiq.actor(job, actor_name=name, broker=broker) for name, job in JOBS.items()}


class Client:
    def __init__(self, _options: common.Options) -> None:
        self.sent: dict[str, Any] = {}

    def bulk(self, count: int) -> None:
        dramatiq.group([ACTORS["noop"].message() for _ in range(count)], broker=broker).run()

    def send(self, job: str, *args: Any) -> str:
        message = ACTORS[job].send(*args)
        if job == "work":
            self.sent[message.message_id] = message
        return str(message.message_id)

    def result(self, job_id: str) -> Any:
        try:
            return self.sent[job_id].get_result(backend=broker.get_results_backend())
        except ResultMissing:
            return None


def run_worker(_options: common.Options) -> None:
    os.environ["dramatiq_queue_prefetch"] = str(common.CONCURRENCY)  # noqa: SIM112 (the name that it reads)
    os.execv(
        sys.executable,
        [sys.executable, "-m", "dramatiq", f"{MODULE}:broker", "--processes", "1", "--threads", "8"],
    )


if __name__ == "__main__":
    common.main(Client, run_worker)
