"""RQ, results off. For speed its `SimpleWorker`, which doesn't fork; to survive crashes its usual forking `Worker`."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue, Retry, SimpleWorker, Worker
from rq.job import Job

from tests.bench.rivals.adapters import common

JOBS = {"noop": common.noop, "hello": common.hello, "pickup": common.pickup, "work": common.work_blocking}


class Client:
    def __init__(self, options: common.Options) -> None:
        self.redis = Redis.from_url(options.url)
        self.queue = Queue("bench", connection=self.redis)
        self.extra: dict[str, Any] = {} if options.keep_results else {"result_ttl": 0}
        if options.safe:
            self.extra["retry"] = Retry(max=3)

    def bulk(self, count: int) -> None:
        data = Queue.prepare_data(common.noop, **self.extra)
        for start in range(0, count, 1000):
            self.queue.enqueue_many([data] * min(1000, count - start))

    def send(self, job: str, *args: Any) -> str:
        return str(self.queue.enqueue_call(JOBS[job], args, **self.extra).id)

    def result(self, job_id: str) -> Any:
        return Job.fetch(job_id, connection=self.redis).return_value()


def run_worker(options: common.Options) -> None:
    kind = Worker if options.safe else SimpleWorker
    tuned: dict[str, Any] = {}
    if options.lease_s:
        # A job is abandoned a minute and the monitoring interval after its worker's last beat; that is noticed when an
        # idle worker wakes, 15 s before its own time to live is over.
        tuned = {
            "job_monitoring_interval": 2,
            "maintenance_interval": options.lease_s,
            "worker_ttl": 15 + options.lease_s,
        }
    kind(["bench"], connection=Redis.from_url(options.url), **tuned).work(logging_level="WARNING")


if __name__ == "__main__":
    common.main(Client, run_worker)
