"""Typed wrappers of the Lua scripts, one method a script, named by its verb.

Each script states its KEYS, ARGV and answer at its top. A script is called by its hash, and sent whole only when the
server doesn't know it yet: that needs no start-up step, and holds after a restart, a failover or on a new Cluster node.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar, cast

import msgpack
from redis.exceptions import NoScriptError

from jobqueue.broker.durable import Durability, write_durably
from jobqueue.broker.failover import SteadyRedis
from jobqueue.broker.keys import ONCE_TTL_MS, PIECES_TTL_MS, LockKeys, QueueKeys
from jobqueue.broker.options import NO_LANE, Lane, Unique

T = TypeVar("T")
Owner = tuple[str, str, int]
"""A job's id, the token under which a worker holds it, and the attempt that its claim counted."""


class Redis(Protocol):
    """The part of redis-py's asyncio clients (single and Cluster) that is used for scripts."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...


def _pack(value: Any) -> bytes:
    """Msgpack as Redis's Lua reads it: its library knows the old raw type only, and no ``bin``."""
    return msgpack.packb(value, use_bin_type=False)  # type: ignore[no-any-return]  # msgpack ships no types


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # whoever can write to Redis can write anything; no worker may end of it


def _ms(score: bytes, now_ms: int) -> int:
    value = float(score)
    return int(value) if math.isfinite(value) else now_ms


@dataclass(frozen=True, slots=True)
class _Script:
    text: str
    sha: str


@cache
def _script(name: str) -> _Script:
    folder = files("jobqueue.broker").joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    if text.startswith("-- with lanes"):
        text = folder.joinpath("lanes.lua").read_text("utf-8") + text
    return _Script(text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324  # EVALSHA's name for it


ANSWER_TIMEOUT_S: Final = 10.0
"""A server that says nothing for so long is taken for gone.

Not redis-py's ``socket_timeout``: with that it sends by `asyncio.wait_for`, which before Python 3.12 can lose a
cancellation.
"""


async def answered(call: Awaitable[T]) -> T:
    """What Redis says to one call; TimeoutError when it says nothing for `ANSWER_TIMEOUT_S`."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        return await call


async def _run(redis: Redis, name: str, keys: Sequence[str], args: Sequence[Any], *, mark: str | None = None) -> Any:
    """Call a script. With a ``mark``, the key of a write that goes with it, it is as durable as the pool demands."""
    script = _script(name)
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        try:
            return await _send(redis, mark, "EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await _send(redis, mark, "EVAL", script.text, len(keys), *keys, *args)


async def _send(redis: Redis, mark: str | None, *call: Any) -> Any:
    level: Durability = getattr(redis, "durable", "off") if mark else "off"
    if level == "off":
        verb, body, *rest = call
        return await (redis.evalsha if verb == "EVALSHA" else redis.eval)(body, *rest)
    first_key = call[3]
    return (await write_durably(redis, first_key, [call, ("SET", mark, 1)], level))[0]


async def _run_behind(redis: Any, command: Sequence[Any], name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    call = ("EVALSHA", _script(name).sha, len(keys), *keys, *args)
    send = getattr(type(redis), "on_one_connection", SteadyRedis.on_one_connection)  # arq's own pool lacks it
    answers = await answered(send(redis, keys[0], [command, call]))
    if broken := next((answer for answer in answers if isinstance(answer, Exception)), None):
        raise broken
    return answers[1]


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """One job this worker holds: ``payload`` is None when it had expired; ``score`` is when it was due, in ms.

    ``lane`` is where it waited, None for a job without traits (``lua/lanes.lua``).
    """

    id: str
    score: int
    payload: bytes | None
    attempt: int
    token: str
    aborted: bool
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to one claim: times in ms of Redis's clock; ``next_due_ms`` is None when nothing waits.

    ``rules`` is the number of the queue's rules, -1 when it isn't told; ``again_ms`` is when jobs that a limit holds
    back may go on, None when nothing but another job's end lets them.
    """

    now_ms: int
    next_due_ms: int | None
    offset: int
    fence: int
    rules: int
    again_ms: int | None
    jobs: list[ClaimedJob]


@dataclass(slots=True)
class EnqueueSpec:
    """One job to enqueue: due at ``at_ms``, or ``delay_ms`` from now by Redis's clock."""

    id: str
    payload: bytes
    at_ms: int | None = None
    delay_ms: int = 0
    once: bool = False
    lane: Lane = NO_LANE
    unique: Unique | None = None

    def packed(self) -> tuple[Any, ...]:
        """As ``enqueue.lua`` takes it."""
        lane, unique = self.lane, self.unique
        return (
            self.id, self.payload, False if self.at_ms is None else self.at_ms, self.delay_ms, int(self.once),
            lane.name, lane.priority, int(lane.needed or unique is not None),
            False if unique is None else (unique.key, unique.freed_at, unique.window_ms, unique.on_conflict),
        )  # fmt: skip


def _claim(answer: Sequence[Any]) -> Claim:
    now, next_due, offset, fence, rules, again, *jobs = answer
    return Claim(
        now,
        next_due if next_due >= 0 else None,
        offset,
        fence,
        rules,
        again if again >= 0 else None,
        [
            ClaimedJob(
                _text(id_), _ms(score, now), payload, attempt, token.decode(), abort == 1, _text(lane) if lane else None
            )
            for id_, score, payload, attempt, token, abort, lane in jobs
        ],
    )


EnqueueAnswer = Literal["enqueued", "waiting", "finished", "once", "duplicate", "replaced"]
_ANSWERS: Final[dict[int, EnqueueAnswer]] = {
    0: "waiting", 1: "enqueued", 2: "finished", 3: "once", 4: "duplicate", 5: "replaced",
}  # fmt: skip


class Enqueued(NamedTuple):
    """What became of one job.

    Attributes:
        id: of the job; of the waiting one that has the new payload now, for ``replaced``.
        answer: ``enqueued``; ``waiting`` or ``finished``: a job of that id waits or runs, or its result is kept;
            ``duplicate``: another job has its unique key; ``replaced``; ``once``: that id was enqueued before.
        in_the_way: id of the job that kept this one off the queue; None when it is on it.
    """

    id: str
    answer: EnqueueAnswer
    in_the_way: str | None = None


@dataclass(frozen=True, slots=True)
class Scripts:
    """The scripts of one queue. ``bare`` leaves no key that arq wouldn't: no streams, counters or fence."""

    redis: Redis
    keys: QueueKeys
    bare: bool = False
    _lease_keys: tuple[str, str, str] = field(init=False)
    _own: str = field(init=False)
    _mark: str | None = field(init=False)

    def __post_init__(self) -> None:
        prefixes = (self.keys.job_prefix, self.keys.in_progress_prefix, self.keys.retry_prefix)
        object.__setattr__(self, "_lease_keys", prefixes)
        object.__setattr__(self, "_own", "" if self.bare else self.keys.own(""))
        object.__setattr__(self, "_mark", None if self.bare else self.keys.own("durable"))

    async def claim(
        self,
        free: int,
        *,
        lease_ms: int,
        worker: str,
        offset: int = 0,
        wanted: Sequence[str] = (),
        behind: Sequence[Any] | None = None,
    ) -> Claim:
        """Claim up to ``free`` due jobs, or those of ``wanted`` that are due.

        With ``behind``, a command, that is sent first on the same connection, and the server claims when it is done
        with it. It has to know the script by then: NoScriptError otherwise.
        """
        keys = [self.keys.queue, self.keys.abort]
        if not self.bare:
            keys += [self.keys.own("fence"), self.keys.own("events")]
        prefixes = (*self._lease_keys, self.keys.result_prefix)
        args = (free, lease_ms, worker, offset, *prefixes, _pack(wanted), self._own)
        if behind is None:
            return _claim(await _run(self.redis, "claim", keys, args))
        return _claim(await _run_behind(self.redis, behind, "claim", keys, args))

    async def recall(self, *, lease_ms: int, worker: str) -> Claim:
        """What the claim by that name took, whose answer never reached its worker."""
        args = (lease_ms, worker, *self._lease_keys, self._own)
        return _claim(await _run(self.redis, "recall", [self.keys.queue, self.keys.abort], args))

    async def extend(self, held: Sequence[Owner], *, lease_ms: int) -> set[str]:
        """Renew leases; the ids that are no longer this worker's."""
        args = (lease_ms, self.keys.in_progress_prefix, self.keys.retry_prefix, _pack(held))
        return {_text(id_) for id_ in await _run(self.redis, "extend", [self.keys.queue], args)}

    async def save(self, held: Owner, fence: int, *, checkpoint: bytes | None, pieces: Mapping[str, bytes]) -> bool:
        """Save a running job's checkpoint and pieces of its result by stream id; False: the job isn't this worker's."""
        k, (job_id, token, attempt) = self.keys, held
        keys = [
            k.queue, k.in_progress(job_id), k.retry(job_id), k.checkpoint(job_id), k.partial(job_id), k.own("events"),
        ]  # fmt: skip
        flat = [part for piece in pieces.items() for part in piece]
        args = (job_id, token, attempt, fence, checkpoint or b"", int(checkpoint is not None), PIECES_TTL_MS, *flat)
        return bool(await _run(self.redis, "save", keys, args))

    async def record(self, ops: Sequence[dict[str, Any]]) -> set[str]:
        """Record outcomes (the fields of an op are in ``record.lua``); the ids refused."""
        keys = [self.keys.queue, self.keys.abort]
        if not self.bare:
            keys += [self.keys.own(k) for k in ("events", "counters", "retries", "dead", "dead:index", "outbox")]
        args = (*self._lease_keys, self.keys.result_prefix, self.keys.own(""), _pack(ops))
        return self.refused(await _run(self.redis, "record", keys, args, mark=self._mark))

    @staticmethod
    def refused(answer: Iterable[bytes]) -> set[str]:
        """The ids in an answer of the record script."""
        return {_text(id_) for id_ in answer}

    async def enqueue(self, jobs: Sequence[EnqueueSpec]) -> list[Enqueued]:
        """Enqueue jobs, and wake idle workers; one answer a job, in order."""
        k = self.keys
        args = (k.job_prefix, k.result_prefix, k.own(""), _pack([job.packed() for job in jobs]), k.in_progress_prefix)
        answers = await _run(self.redis, "enqueue", [k.queue, k.abort], args, mark=self._mark)
        return [_enqueued(job.id, answer) for job, answer in zip(jobs, answers, strict=True)]

    async def cancel(
        self, job_id: str, *, result: bytes, keep_ms: int, count: str, outbox: Sequence[Any] = ()
    ) -> Literal["cancelled", "cancelling", "finished", "unknown"]:
        """Cancel one job; see ``cancel.lua`` for what each answer means."""
        k = self.keys
        keys = [
            k.queue, k.abort, k.own("events"), k.own("outbox"), k.job(job_id), k.in_progress(job_id), k.retry(job_id),
            k.result(job_id), k.progress(job_id), k.error(job_id), k.once(job_id), k.own("counters"),
        ]  # fmt: skip
        args = (job_id, result, keep_ms, ONCE_TTL_MS, count, _pack(outbox), k.own(""), k.in_progress_prefix)
        answer = (await _run(self.redis, "cancel", keys, args, mark=self._mark)).decode()
        return cast('Literal["cancelled", "cancelling", "finished", "unknown"]', answer)

    async def replay(
        self, entry_id: str, job_id: str, payload: bytes, lane: Lane
    ) -> Literal["replayed", "gone", "waiting"]:
        """Put a dead letter back on the queue."""
        k = self.keys
        keys = [
            k.queue, k.own("dead"), k.own("dead:index"), k.own("events"), k.job(job_id), k.retry(job_id),
            k.result(job_id), k.abort,
        ]  # fmt: skip
        args = (entry_id, job_id, payload, k.own(""), lane.name, lane.priority, int(lane.needed))
        answers: dict[int, Literal["replayed", "gone", "waiting"]] = {1: "replayed", 0: "gone", -1: "waiting"}
        return answers[await _run(self.redis, "replay", keys, args, mark=self._mark)]

    async def rule(self, patches: str, *, most: int, configuring: bool = False) -> int:
        """Change rules, by JSON as ``rule.lua`` has it. Their number now; -1 when there would be more than ``most``."""
        args = (self.keys.own(""), self.keys.in_progress_prefix, patches, int(configuring), most)
        return int(await _run(self.redis, "rule", [self.keys.queue], args, mark=self._mark))

    async def discard(self, entry_id: str, job_id: str) -> bool:
        """Discard a dead letter; False when it was gone."""
        keys = [self.keys.own("dead"), self.keys.own("dead:index"), self.keys.buried(job_id)]
        return bool(await _run(self.redis, "discard", keys, (entry_id, job_id)))


def _enqueued(job_id: str, answer: Any) -> Enqueued:
    if isinstance(answer, list):
        number, other = answer
        found = _ANSWERS[number]
        return Enqueued(_text(other), found) if found == "replaced" else Enqueued(job_id, found, _text(other))
    found = _ANSWERS[answer]
    return Enqueued(job_id, found, None if found == "enqueued" else job_id)


@dataclass(frozen=True, slots=True)
class LockScripts:
    """The scripts of one lock."""

    redis: Redis
    keys: LockKeys

    async def acquire(self, token: str, *, lease_ms: int, durably: bool = False) -> tuple[int, int]:
        """The fence number when the token holds the lock now, else 0; and the ms until its holder's lease ends."""
        keys = [self.keys.lock, self.keys.fence, self.keys.wake]
        mark = self.keys.durable if durably else None
        fence, left_ms = await _run(self.redis, "lock_acquire", keys, (token, lease_ms), mark=mark)
        return fence, left_ms

    async def extend(self, token: str, *, lease_ms: int) -> bool:
        """Renew the lease; False when the token doesn't hold the lock."""
        return bool(await _run(self.redis, "lock_extend", [self.keys.lock], (token, lease_ms)))

    async def release(self, token: str) -> bool:
        """Release the lock and wake one waiter; False when the token doesn't hold it."""
        return bool(await _run(self.redis, "lock_release", [self.keys.lock, self.keys.wake], (token,)))
