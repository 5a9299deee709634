"""Celery, results off; one prefork child a worker, its usual pool; started by its own command."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery

from tests.bench.rivals.adapters import common

MODULE = "tests.bench.rivals.adapters.celery"


def app_of(options: common.Options) -> Any:
    # Tuned, it also looks for abandoned messages every second; by default every hundred.
    often = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    tuned = {"visibility_timeout": options.lease_s, **often} if options.lease_s else {}
    app: Any = Celery("bench", broker=options.url, backend=options.url if options.keep_results else None)
    app.conf.update(
        task_ignore_result=not options.keep_results,
        worker_prefetch_multiplier=common.CONCURRENCY if not options.safe else 1,
        task_acks_late=options.safe,
        task_reject_on_worker_lost=options.safe,
        broker_connection_retry_on_startup=True,
        broker_transport_options=tuned,
        worker_hijack_root_logger=False,
    )
    return app


app = app_of(common.read_options())
JOBS = {"noop": common.noop, "hello": common.hello, "pickup": common.pickup, "work": common.work_blocking}
TASKS = {name: app.task(job, name=name) for name, job in JOBS.items()}


class Client:
    def bulk(self, count: int) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                TASKS["noop"].apply_async(producer=producer)

    def send(self, job: str, *args: Any) -> str:
        return str(TASKS[job].apply_async(args).id)

    def result(self, job_id: str) -> Any:
        return app.AsyncResult(job_id).result


def connect(_options: common.Options) -> Client:
    return Client()


def run_worker(_options: common.Options) -> None:
    os.environ["C_FORCE_ROOT"] = "1"
    os.execv(
        sys.executable,
        [
            *(sys.executable, "-m", "celery", "-A", MODULE, "worker", "-P", "prefork", "-c", "1", "-l", "WARNING"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat", "-n", f"{os.getpid()}@%h"),
        ],
    )


if __name__ == "__main__":
    common.main(connect, run_worker)
