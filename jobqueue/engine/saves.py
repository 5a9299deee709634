"""What a running job saves: its checkpoint, from which a new attempt goes on, and pieces of its result.

Both go by one script, which asks whether the job is still this worker's. A checkpoint takes the pieces along that wait
to be sent: whatever a job has told before it saved its cursor is there when the next attempt reads it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from jobqueue.broker.jobwatch import tenant_of
from jobqueue.broker.keys import MAX_PIECES
from jobqueue.broker.scripts import answered
from jobqueue.engine.host import Host
from jobqueue.engine.outcomes import Held
from jobqueue.errors import InvalidInput, LeaseLost, LimitExceeded, Unavailable, UnreadablePayload
from jobqueue.job import decode, encode

logger = structlog.get_logger(__name__)

MAX_CHECKPOINT_BYTES: Final = 1_000_000
MAX_PIECE_BYTES: Final = 64_000
MAX_WAITING_BYTES: Final = 1_000_000
INTERVAL_S: Final = 0.25
_BREATH: Final = 100  # pieces after which a handler that does nothing else lets the loop go on


class Saves:
    """The ``ctx["checkpoint"]`` of one attempt, and by `append` its ``ctx["partial"]``.

    Pieces are sent four times a second, sooner when a thousand or a megabyte wait. Those that haven't been when the
    attempt ends are part of its record.
    """

    __slots__ = ("_count", "_flushing", "_held", "_timer", "_waiting_bytes", "_worker")

    def __init__(self, worker: Host, held: Held) -> None:
        self._worker = worker
        self._held = held
        self._count = 0
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[bool] | None = None

    async def load(self) -> Any:
        """As `jobqueue.ports.Checkpoint.load`."""
        redis: Any = self._worker.pool
        try:
            raw = await answered(redis.hget(self._worker.keys.checkpoint(self._held.id), "data"))
        except (RedisError, OSError) as exc:
            raise Unavailable(f"the checkpoint can't be read, since Redis doesn't answer ({exc})") from exc
        if raw is None:
            return None
        try:
            return decode(raw).get("c")
        except UnreadablePayload as exc:
            logger.warning("checkpoint.unreadable", job_id=self._held.id, error=str(exc))
            return None

    async def save(self, data: Any) -> None:
        """As `jobqueue.ports.Checkpoint.save`."""
        packed = _packed({"c": data}, "a checkpoint", MAX_CHECKPOINT_BYTES)
        try:
            await self._send(packed)
        except (RedisError, OSError) as exc:
            raise Unavailable(f"the checkpoint may not be saved, since Redis doesn't answer ({exc})") from exc

    async def append(self, data: Any) -> None:
        """Append a piece to the job's partial result.

        Watchers see it within a quarter of a second. The newest 1,000 are kept for as long as the job's result is; a
        job type whose result isn't kept shows its pieces while it runs. Waits only where Redis takes them more slowly
        than they come.

        Raises:
            InvalidInput: not plain data.
            LimitExceeded: more than 64 kB.
            LeaseLost: the job is another worker's now: stop.
        """
        held = self._held
        if held.stop == "lost":
            raise _lost(held)
        piece = {"a": held.attempt, "o": tenant_of({"m": held.meta, "k": held.kwargs}), "d": data}
        packed = _packed(piece, "a piece of a result", MAX_PIECE_BYTES)
        if held.pieces is None:
            held.pieces = {}
        self._count += 1
        held.pieces[f"{held.fence}-{self._count}"] = packed
        self._waiting_bytes += len(packed)
        if len(held.pieces) >= MAX_PIECES or self._waiting_bytes > MAX_WAITING_BYTES:
            await self._make_room()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._flush_soon)
        if self._count % _BREATH == 0:
            await asyncio.sleep(0)

    async def _make_room(self) -> None:
        while not await self._flush():  # noqa: ASYNC110  # Redis, which is waited for, sets no event
            await asyncio.sleep(INTERVAL_S)  # Redis is away; so the job waits, as its record would

    def _flush_soon(self) -> None:
        self._timer = None
        if not self._held.finished_ms and self._held.pieces and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._flush(quietly=True), name=f"pieces:{self._held.id}")

    async def _flush(self, *, quietly: bool = False) -> bool:
        """Send what waits; whether it landed. A lost lease is for the job to hear of, ``quietly`` not from here."""
        try:
            await self._send(None)
        except (RedisError, OSError) as exc:
            logger.debug("partial.delayed", job_id=self._held.id, error=repr(exc))
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._flush_soon)
            return False
        except LeaseLost:
            if not quietly:
                raise
        return True

    async def _send(self, checkpoint: bytes | None) -> None:
        held = self._held
        sent = dict(held.pieces or {})
        owner = (held.id, held.token, held.claimed)
        if not await self._worker.scripts.save(owner, held.fence, checkpoint=checkpoint, pieces=sent):
            held.stop, held.pieces = "lost", None
            raise _lost(held)
        for stream_id, piece in sent.items():  # another one under way may have landed first
            if held.pieces and held.pieces.pop(stream_id, None) is not None:
                self._waiting_bytes -= len(piece)


def _packed(data: dict[str, Any], what: str, max_bytes: int) -> bytes:
    try:
        packed = encode(data)
    except InvalidInput as exc:
        raise InvalidInput(f"{what} must be plain data: {exc.__cause__}") from exc
    if len(packed) > max_bytes:
        raise LimitExceeded(
            f"{what} takes {len(packed):,} bytes; at most {max_bytes:,} fit: put large things into storage and save "
            "their key"
        )
    return packed


def _lost(held: Held) -> LeaseLost:
    return LeaseLost(f"job {held.id} is another worker's now: what attempt {held.attempt} does is not kept any more")
