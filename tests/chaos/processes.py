"""What happens to worker processes: SIGKILL, SIGSTOP, SIGTERM, under load."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from itertools import pairwise
from typing import Final

from jobqueue.broker.embedded import EmbeddedRedis
from tests.chaos.arena import Arena, Plan, arena
from tests.chaos.effects import Effect, by_job
from tests.chaos.ledger import Row
from tests.engine_support import INGEST, wait_until

RECOVERY_S: Final = 12.0
BACK_S: Final = 0.5
_STALL_LEASE_S: Final = 2.0
_GRACE_S: Final = 1


async def kill(plan: Plan) -> list[Row]:
    """Random workers of four are killed and replaced while jobs pour in."""
    row = Row(scenario="kill")
    count = plan.sized(20_000, 2_000)
    async with EmbeddedRedis(plan.directory) as endpoint, arena(row, plan, endpoint.url, max_jobs=40) as place:
        await place.start_workers(4)
        load = asyncio.create_task(place.load(count, rate=count / plan.sized(40, 5), seconds=0.15))
        while not load.done():
            await asyncio.sleep(place.random.uniform(0.3, 1.2))
            await place.kill(place.random.choice(place.workers))
            await place.start_worker()
        await load
        await place.settle(within_s=60)
        row.expect(row.reruns > 0, "no kill hit a running job")
        row.recovered(place.recoveries(), within_s=RECOVERY_S)
        _expect_growing_fences(place)
        place.expect_all_alive()
    return [row]


async def stall(plan: Plan) -> list[Row]:
    """A worker is stopped for longer than its lease, and goes on as if nothing had been."""
    row = Row(scenario="stall")
    async with (
        EmbeddedRedis(plan.directory) as endpoint,
        arena(row, plan, endpoint.url, lease_s=_STALL_LEASE_S) as place,
    ):
        await place.start_workers(3)
        for _ in range(plan.sized(8, 1)):
            await _stall_one(place)
        await place.settle(within_s=60)
        _expect_growing_fences(place)
        place.expect_all_alive()
    return [row]


async def _stall_one(place: Arena) -> None:
    """Its short jobs finish late, and are refused; its long ones are told that they aren't its own any more."""
    long = 3 * _STALL_LEASE_S
    ids = []
    for _ in range(15):  # in turn, so that every worker has some of both
        ids += await place.load(1, seconds=0.7) + await place.load(1, function="reporting", seconds=long)
    await wait_until(lambda: set(ids) <= set(by_job(place.effects.read(), "start")), within_s=10, what="the starts")
    victim = place.random.choice(place.workers)
    running = [effect.id for effect in _running(place) if effect.pid == victim.pid]
    victim.send_signal(signal.SIGSTOP)
    place.row.faults += 1
    await asyncio.sleep(_STALL_LEASE_S * 1.75)
    victim.send_signal(signal.SIGCONT)
    await place.observer.seen(ids, within_s=30)
    effects = place.effects.read()
    told = {effect.id for effect in effects if effect.what == "told" and effect.pid == victim.pid}
    untold = [job_id for job_id in running if job_id.endswith("reporting") and job_id not in told]
    place.row.expect(bool(running), "the stopped worker had no jobs")
    place.row.expect(not untold, f"{len(untold)} jobs of the stopped worker ran on without being told")
    late = [e for e in effects if e.what == "end" and e.pid == victim.pid and e.id in running]
    place.row.notes.append(f"{len(late)} late finishes, {len(told)} jobs told")


async def term(plan: Plan) -> list[Row]:
    """Workers are asked to stop, one after the other, with jobs that outlast the grace period."""
    row = Row(scenario="term")
    async with (
        EmbeddedRedis(plan.directory) as endpoint,
        arena(row, plan, endpoint.url, grace_s=_GRACE_S) as place,
    ):
        await place.start_workers(3)
        backs = [await _term_one(place) for _ in range(plan.sized(8, 1))]
        await place.settle(within_s=60)
        row.recovered(backs, within_s=BACK_S)
        spent = {effect.id for effect in place.effects.read() if effect.what == "start" and effect.attempt != 1}
        row.expect(not spent, f"{len(spent)} jobs spent an attempt on a shutdown")
    return [row]


async def _term_one(place: Arena) -> float:
    """Seconds from the end of the grace period until every interrupted job is back."""
    ids = await place.load(25, seconds=3.0)
    short = asyncio.create_task(place.load(300, rate=150, seconds=0.02))
    await wait_until(lambda: set(ids) <= set(by_job(place.effects.read(), "start")), within_s=10, what="the starts")
    victim = place.random.choice(place.workers)
    victim.send_signal(signal.SIGTERM)
    place.row.faults += 1
    grace_ends = time.time() + _GRACE_S
    held = [effect.id for effect in _running(place) if effect.pid == victim.pid and effect.id in ids]
    while await _owned_by(place, victim.pid, held):
        await asyncio.sleep(0.01)
        if time.time() > grace_ends + 10:
            break
    back_s = time.time() - grace_ends
    place.row.expect(await victim.wait() == 0, f"a worker asked to stop ended with {victim.returncode}")
    place.workers.remove(victim)
    await short
    await place.start_worker()
    return back_s


async def _owned_by(place: Arena, pid: int, ids: list[str]) -> bool:
    tokens = await place.redis.mget([INGEST.in_progress(job_id) for job_id in ids]) if ids else []
    return any(token is not None and int(token.split(b":")[1]) == pid for token in tokens)


def _running(place: Arena) -> list[Effect]:
    """The starts that nothing has ended."""
    last: dict[tuple[str, int], Effect] = {}
    for effect in place.effects.read():
        if effect.id:
            last[effect.id, effect.pid] = effect
    return [effect for effect in last.values() if effect.what == "start"]


def _expect_growing_fences(place: Arena) -> None:
    fences = defaultdict(list)
    for job_id, starts in by_job(place.effects.read(), "start").items():
        fences[job_id] = [start.fence for start in starts]
    bad = [job_id for job_id, of in fences.items() if any(a >= b for a, b in pairwise(of))]
    place.row.expect(not bad, f"the fence of {len(bad)} jobs didn't grow from run to run")
