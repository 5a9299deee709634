"""Jobs that this worker doesn't know: offered to others for a while, then buried. A rolling deploy loses nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import answered
from jobqueue.engine.features import Features
from jobqueue.engine.outcomes import Buried, Held, Outcome, Returned
from jobqueue.errors import UnknownFunction


async def park(redis: Any, keys: QueueKeys, held: Held, features: Features) -> Outcome:
    """Back to the queue with a delay, and with when it was first seen; buried once that is ``park_s`` ago."""
    now = timestamp_ms()
    noted = None
    with contextlib.suppress(RedisError, OSError):  # away: parked from now on, as far as this worker can tell
        noted = await answered(redis.get(keys.error(held.id)))
    since = (msgpack.unpackb(noted)[2] if noted else None) or now
    if now - since > features.park_s * 1000:
        return Buried(
            UnknownFunction(
                f"no worker of {keys.name} has known the {held.kind} for {features.park_s:g} s: "
                "start one that does, then replay this job"
            ),
            "unknown",
        )
    return Returned("unknown", delay_s=features.park_delay_s, parked_ms=since)
