"""Dead letters: jobs that failed for good, kept in one stream per queue until somebody replays or discards them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from arq.utils import timestamp_ms

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.options import lane_of
from jobqueue.broker.scripts import Scripts
from jobqueue.errors import Conflict, JobqueueError, NotFound
from jobqueue.job import decode, encode
from jobqueue.typed import masked

_PAGE: Final = 200
_HISTORY: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter. ``payload`` is as it was enqueued, or b"" when it had expired before."""

    entry_id: str
    job_id: str
    queue: str
    function: str
    reason: str
    error_class: str
    message: str
    traceback: str
    attempts: int
    enqueued_at: datetime
    started_at: datetime | None
    buried_at: datetime
    flow_id: str
    tenant_id: str
    trace_id: str
    payload: bytes

    def summary(self) -> dict[str, Any]:
        """What a list shows: no payload, no traceback."""
        return {
            "job_id": self.job_id, "queue": self.queue, "function": self.function, "reason": self.reason,
            "error_class": self.error_class, "message": self.message, "attempts": self.attempts,
            "enqueued_at": self.enqueued_at.isoformat(), "buried_at": self.buried_at.isoformat(),
            "task_id": self.flow_id or None, "tenant_id": self.tenant_id or None,
        }  # fmt: skip

    def detail(self) -> dict[str, Any]:
        """Everything but the raw payload; its arguments and history instead, where they can be read."""
        try:
            data = decode(self.payload) if self.payload else {}
        except JobqueueError as exc:
            data = {"k": {"unreadable": str(exc)}}
        return self.summary() | {
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "traceback": self.traceback,
            "args": data.get("a", []),
            "kwargs": masked(data.get("k", {})),
            "history": (data.get("m") or {}).get("history", []),
        }


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, redis: Any, keys: QueueKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis, keys)

    async def count(self) -> int:
        """How many there are."""
        return int(await self._redis.xlen(self._keys.own("dead")))

    async def list(self, *, limit: int = 50) -> list[DeadLetter]:
        """The newest ones first."""
        rows = await self._redis.xrevrange(self._keys.own("dead"), count=limit)
        return [_letter(self._keys.name, *row) for row in rows]

    async def all(self) -> AsyncIterator[DeadLetter]:
        """Every one, oldest first, as of the call; those buried meanwhile are left for another call."""
        last = await self._redis.xrevrange(self._keys.own("dead"), count=1)
        start, end = "-", last[0][0] if last else "-"
        while rows := await self._redis.xrange(self._keys.own("dead"), min=start, max=end, count=_PAGE):
            for row in rows:
                yield _letter(self._keys.name, *row)
            start = "(" + rows[-1][0].decode()

    async def get(self, job_id: str) -> DeadLetter:
        """The dead letter of a job. Raises `NotFound`."""
        entry_id = await self._redis.hget(self._keys.own("dead:index"), job_id)
        rows = await self._redis.xrange(self._keys.own("dead"), min=entry_id, max=entry_id) if entry_id else []
        if not rows:
            raise NotFound(f"no dead letter of job {job_id} in queue {self._keys.name}")
        return _letter(self._keys.name, *rows[0])

    async def replay(self, letter: DeadLetter) -> None:
        """Put it back on its queue under the same id, with its history; its flow goes on when it succeeds.

        Raises:
            NotFound: somebody else replayed or discarded it meanwhile.
            Conflict: its payload had expired, or such a job waits or runs again.
        """
        if not letter.payload:
            raise Conflict(f"job {letter.job_id} can't be replayed: its payload had expired; discard it")
        data = decode(letter.payload)
        meta = dict(data.get("m") or {})
        past = {
            "buried_at": letter.buried_at.isoformat(), "error_class": letter.error_class,
            "message": letter.message[:500], "attempts": letter.attempts,
        }  # fmt: skip
        meta["history"] = [*meta.get("history", []), past][-_HISTORY:]
        data |= {"m": meta, "t": None, "et": timestamp_ms()}
        data.pop("x", None)  # whoever replays wants it to run
        lane = lane_of(letter.function, meta)
        match await self._scripts.replay(letter.entry_id, letter.job_id, encode(data), lane):
            case "gone":
                raise NotFound(f"the dead letter of job {letter.job_id} is gone: replayed or discarded meanwhile")
            case "waiting":
                raise Conflict(f"job {letter.job_id} waits or runs again already")
            case "replayed":
                pass

    async def discard(self, letter: DeadLetter) -> None:
        """Remove it for good. Raises `NotFound` when it is gone."""
        if not await self._scripts.discard(letter.entry_id, letter.job_id):
            raise NotFound(f"the dead letter of job {letter.job_id} is gone: replayed or discarded meanwhile")


def _time(value: str) -> datetime | None:
    ms = int(value or 0)
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


def _letter(queue: str, entry_id: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    payload = fields.get(b"payload", b"")
    text = {key.decode(): value.decode("utf-8", "replace") for key, value in fields.items() if key != b"payload"}
    buried = _time(text["buried_ms"]) or datetime.fromtimestamp(int(entry_id.partition(b"-")[0]) / 1000, UTC)
    return DeadLetter(
        entry_id=entry_id.decode(), job_id=text["job_id"], queue=queue, function=text["function"],
        reason=text["reason"], error_class=text["error_class"], message=text["message"],
        traceback=text["traceback"], attempts=int(text["attempts"]),
        enqueued_at=_time(text["enqueued_ms"]) or buried, started_at=_time(text["started_ms"]), buried_at=buried,
        flow_id=text["flow"], tenant_id=text["tenant"], trace_id=text["trace"], payload=payload,
    )  # fmt: skip
