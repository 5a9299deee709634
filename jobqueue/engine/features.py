"""What our queues switch on beyond arq's worker. A worker without features behaves, and leaves keys, as arq's does."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobqueue.engine.lease import LEASE_S
from jobqueue.flows import Flow, FlowState
from jobqueue.job import new_id
from jobqueue.retry import RetryPolicy

FlowEnded = Callable[[Flow, FlowState, str | None], Awaitable[None]]


def worker_id(name: str | None = None) -> str:
    """A readable id that no other process has: ``host:pid:random``."""
    return f"{name or socket.gethostname()}:{os.getpid()}:{new_id('w')[-6:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Streams, retry policies, flows, parking, and the other things arq doesn't have.

    Attributes:
        connect: opens the pool; None: arq's own way, from ``redis_settings``.
        policies: function name -> its retry policy.
        versions: function name -> the newest version of its payload that this worker reads.
        park_s: a job of unknown function or version is offered to other workers for so long, then buried.
        health_ttl_s: how long one heartbeat keeps ``arq --check`` content.
        on_flow_ended: called at least once for each flow that ends, before the outbox entry is removed.
        random: draws from [0, 1), for jitter.
    """

    connect: Callable[[], Awaitable[Any]] | None = None
    cluster: bool = False
    worker_name: str | None = None
    lease_s: float = LEASE_S
    policies: Mapping[str, RetryPolicy] = field(default_factory=dict)
    default_policy: RetryPolicy = field(default_factory=RetryPolicy)
    versions: Mapping[str, int] = field(default_factory=dict)
    park_s: float = 900.0
    park_delay_s: float = 5.0
    health_ttl_s: float = 15.0
    on_flow_ended: FlowEnded | None = None
    random: Callable[[], float] = random.random

    def policy(self, function: str) -> RetryPolicy:
        """The retry policy of a job type."""
        return self.policies.get(function, self.default_policy)
