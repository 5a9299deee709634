"""What an operator does to a queue, and how that lives together with what the configuration says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from jobqueue import settings
from jobqueue.broker import control as control_module
from jobqueue.broker.control import QueueControl
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.options import Options
from jobqueue.broker.scripts import Scripts
from jobqueue.client import Client
from jobqueue.duties import limits as duty
from jobqueue.engine.worker import Worker
from jobqueue.errors import Conflict, InvalidInput, NotFound, Unavailable
from jobqueue.limits import Limit
from jobqueue.queues import Queue, load
from jobqueue.worker import worker_settings
from tests.engine_support import INGEST, client_of, running, wait_until
from tests.integration.test_worker_schedules import no_services


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with client_of(redis_url) as client:
        yield client


@pytest.fixture
def control(client: Client) -> QueueControl:
    return client.control("ingest")


Told = dict[str, tuple[int | None, str, bool]]
"""Scope -> concurrency, source, paused."""


async def told(control: QueueControl) -> Told:
    return {rule.scope: (rule.limit.concurrency, rule.source, rule.paused) for rule in await control.rules()}


def at_once(**limits: int) -> dict[str, Limit]:
    return {f"type:{name}": Limit(concurrency=number) for name, number in limits.items()}


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_rule_tells_what_it_does_itself(pool: Any, control: QueueControl) -> None:
    for scope in ("type:f", "provider:p", "tenant:a", "queue"):  # the order in which they are set is not theirs
        await control.limit(scope, Limit(concurrency=2))
    await control.limit("provider:p", Limit(concurrency=1))
    options = [Options(tenant=tenant, keys={"provider": "p"}) for tenant in "ab"]
    await pool.enqueue_many(NewJob(function="f", options=each) for each in options)
    scripts = Scripts(pool, INGEST)
    assert len((await scripts.claim(2, lease_ms=10_000, worker="w")).jobs) == 1
    counts = {rule.scope: (rule.running, rule.held_back) for rule in await control.rules()}
    assert counts == {"provider:p": (1, 1), "queue": (1, 0), "tenant:a": (1, 0), "type:f": (1, 0)}


async def test_a_limit_takes_the_place_of_the_one_before_and_leaves_the_pause(control: QueueControl) -> None:
    await control.limit("type:f", Limit(concurrency=3, rate_per_s=1 / 60))
    await control.pause("type:f")
    await control.limit("type:f", Limit(rate_per_s=7))
    (rule,) = await control.rules()
    assert (rule.limit, rule.paused) == (Limit(rate_per_s=7, burst=7), True)
    await control.resume("type:f")
    assert [rule.paused for rule in await control.rules()] == [False]
    await control.unlimit("type:f")
    assert await control.rules() == []


async def test_a_pause_without_limits_is_gone_when_it_ends(control: QueueControl) -> None:
    await control.pause("tenant:acme")
    await control.resume("tenant:acme")
    assert await control.rules() == []
    for verb in (control.resume, control.unlimit):
        with pytest.raises(NotFound, match="no rule for tenant:acme"):
            await verb("tenant:acme")
    with pytest.raises(NotFound, match="hold:bad"):
        await control.lift("bad")


HOSTILE = [
    "", ":", "tenant", "tenant:", ":acme", "Tenant:acme", "hold:bad", "queue:x", "version", "tenant:a\nb",
    "tenant:\x1f", "tenant:\ud800", f"tenant:{'x' * 201}", f"{'x' * 41}:a", "tenant:acme\n",
]  # fmt: skip


@pytest.mark.parametrize("scope", HOSTILE)
async def test_a_scope_that_cannot_be_is_refused_everywhere(pool: Any, control: QueueControl, scope: str) -> None:
    for call in (
        control.limit(scope, Limit(concurrency=1)), control.unlimit(scope), control.pause(scope), control.resume(scope),
        control.configure({scope: Limit(concurrency=1)}),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="queue, type:FUNCTION, tenant:ID"):
            await call
    assert not await pool.exists(INGEST.own("rules"))


@pytest.mark.parametrize("scope", ["tenant:{x}", "provider:a/b c:d", "type:*", "k:ü", f"tenant:{'x' * 200}", "queue"])
async def test_a_scope_that_can_be_is_limited(control: QueueControl, scope: str) -> None:
    await control.limit(scope, Limit(concurrency=1))
    assert await told(control) == {scope: (1, "operator", False)}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Bad", {}, "hold 'Bad'"),
        ("", {}, "hold ''"),
        ("x" * 61, {}, "hold 'xxx"),
        ("bad", {"function": ""}, "function"),
        ("bad", {"function": "a\nb"}, "function"),
        ("bad", {"where": {str(n): n for n in range(9)}}, "where: up to 8"),
        ("bad", {"where": {"a": "x" * 201}}, "where"),
        ("bad", {"where": {"": "x"}}, "where"),
        ("bad", {"where": {"a": "\ud800"}}, "where"),
        ("bad", {"reason": "x" * 501}, "reason"),
        ("bad", {"reason": "\ud800"}, "reason"),
    ],
)
async def test_a_hold_that_makes_no_sense_is_refused(
    pool: Any, control: QueueControl, name: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await control.hold(name, **{"function": "f", "where": {}} | changes)
    assert not await pool.exists(INGEST.own("rules"))


async def test_only_tenants_have_a_weight(control: QueueControl) -> None:
    await control.limit("tenant:acme", Limit(weight=2))
    with pytest.raises(InvalidInput, match="only tenants take turns"):
        await control.limit("type:f", Limit(weight=2))


async def test_there_are_only_so_many_rules(control: QueueControl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "MAX_RULES", 2)
    await control.configure(at_once(a=1, b=1))
    with pytest.raises(Conflict, match="2 rules: remove some"):
        await control.pause()
    await control.limit("type:a", Limit(concurrency=2))
    await control.unlimit("type:b")
    await control.pause()
    assert await told(control) == {"type:a": (2, "operator", False), "queue": (None, "operator", True)}


@pytest.mark.parametrize("text", ["{", "5", '{"rate": "fast"}', '{"concurrency": -1}', '{"where": 1}', "\ud800"])
async def test_a_rule_that_somebody_has_damaged_is_shown_and_can_be_removed(
    pool: Any, control: QueueControl, text: str
) -> None:
    await control.limit("type:g", Limit(concurrency=1))
    await pool.hset(INGEST.own("rules"), "type:f", text.encode("utf-8", "surrogatepass"))
    broken, good = await control.rules()
    assert (broken.scope, good.scope) == ("type:f", "type:g")
    assert str(broken.reason).startswith("can't be read")
    await control.configure(at_once(h=1))
    await control.unlimit("type:f")
    assert set(await told(control)) == {"type:g", "type:h"}


# ── the configuration ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_configuration_changes_what_it_has_set_and_nothing_else(control: QueueControl) -> None:
    await control.configure(at_once(a=1, b=1, c=1))
    await control.limit("type:b", Limit(concurrency=9))
    await control.hold("bad", function="f", where={})
    await control.configure(at_once(a=2, b=2))
    assert await told(control) == {
        "hold:bad": (None, "operator", True), "type:a": (2, "config", False), "type:b": (9, "operator", False),
    }  # fmt: skip


async def test_a_pause_of_a_configured_scope_outlives_the_configuration_and_leaves_it_in_charge(
    control: QueueControl,
) -> None:
    await control.configure(at_once(a=1, b=1))
    await control.pause("type:a")
    await control.pause("type:b")
    await control.configure(at_once(a=5))
    assert await told(control) == {"type:a": (5, "config", True), "type:b": (None, "operator", True)}
    await control.resume("type:a")
    await control.resume("type:b")
    await control.configure(at_once(a=6))
    assert await told(control) == {"type:a": (6, "config", False)}


async def test_the_same_configuration_again_changes_nothing_and_wakes_nobody(pool: Any, control: QueueControl) -> None:
    limits = {"type:f": Limit(concurrency=1, rate_per_s=1 / 3600), "tenant:*": Limit(weight=0.1)}
    await control.configure({})
    assert not await pool.exists(INGEST.own("rules"), INGEST.own("wake"))  # a queue without limits stays one
    await control.configure(limits)
    before = await pool.hgetall(INGEST.own("rules"))
    await pool.delete(INGEST.own("wake"))
    await control.configure(limits)
    assert await pool.hgetall(INGEST.own("rules")) == before
    assert not await pool.exists(INGEST.own("wake"))


async def test_of_configurations_taken_over_at_once_one_is_in_force_and_no_mixture(client: Client) -> None:
    configurations = [at_once(**dict.fromkeys(names, n + 1)) for n, names in enumerate(("ab", "bc", "ca", "d"))]
    controls = cycle([client.control("ingest") for _ in range(4)])
    for _ in range(20):
        await asyncio.gather(*(next(controls).configure(each) for each in configurations * 3))
        found = {rule.scope: rule.limit for rule in await client.control("ingest").rules()}
        assert found in configurations


# ── workers that start ───────────────────────────────────────────────────────────────────────────────────────────────


def system_worker(url: str, directory: Path, limits: Mapping[str, Limit]) -> Worker:
    queues: dict[str, Queue] = load()
    queues["system"] = queues["system"].model_copy(update={"limits": limits})
    config = settings.load(redis_url=url, data_dir=directory)
    return Worker(**worker_settings("system", config, queues, no_services), handle_signals=False)


async def test_of_workers_with_different_configurations_the_last_one_to_start_has_said_what_holds(
    redis_url: str, pool: Any, tmp_path: Path
) -> None:
    async with Client(pool, load()) as client:
        control = client.control("system")

        async def holds(expected: Told) -> bool:
            return await told(control) == expected

        async with running(system_worker(redis_url, tmp_path, at_once(expire=1, resubmit=1))):
            first: Told = {"type:expire": (1, "config", False), "type:resubmit": (1, "config", False)}
            await wait_until(lambda: holds(first))
            await control.limit("type:resubmit", Limit(concurrency=4))
            async with running(system_worker(redis_url, tmp_path, at_once(expire=2, check_health=2))):
                second: Told = {"type:expire": (2, "config", False), "type:check_health": (2, "config", False)}
                await wait_until(lambda: holds(second | {"type:resubmit": (4, "operator", False)}))


class SlowControl:
    """Away for a while, then there."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.taken: list[Mapping[str, Limit]] = []

    async def configure(self, limits: Mapping[str, Limit]) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("Redis is away")
        self.taken.append(limits)


async def test_redis_that_is_away_delays_no_start_and_gets_the_limits_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "AGAIN_S", 0.001)
    control, limits = SlowControl(away=3), at_once(f=1)
    async with duty.configuring(cast("QueueControl", control), limits):
        assert control.taken == []
        await wait_until(lambda: control.taken == [limits])


async def test_redis_that_never_answers_delays_neither_start_nor_end() -> None:
    class Silent:
        async def configure(self, _limits: Mapping[str, Limit]) -> None:
            await asyncio.Event().wait()

    async with asyncio.timeout(1), duty.configuring(cast("QueueControl", Silent()), {}):
        pass


# ── draining, purging ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_purge_takes_what_waits_in_whatever_way_and_leaves_what_runs(pool: Any, control: QueueControl) -> None:
    await control.limit("tenant:*", Limit(concurrency=1))
    await pool.enqueue_many([NewJob(function="f")] * 60)
    (running_job, *_) = (await Scripts(pool, INGEST).claim(1, lease_ms=10_000, worker="w")).jobs
    await pool.enqueue_many([NewJob(function="f", options=Options(tenant="a", priority=9))] * 60)
    await pool.enqueue_many([NewJob(function="f", defer_s=300)] * 60)
    assert await control.running() == 1
    assert await control.waiting() == 179
    assert await control.purge(expected=179) == 179
    assert await pool.zrange(INGEST.queue, 0, -1) == [running_job.id.encode()]
    assert await control.waiting() == 0


async def test_a_drain_does_not_take_a_deferred_job_for_a_running_one(pool: Any, control: QueueControl) -> None:
    await pool.enqueue_many([NewJob(function="f", defer_s=5)] * 3)
    await control.drain(timeout_s=1)
    assert await told(control) == {"queue": (None, "operator", True)}


async def test_redis_that_is_away_is_unavailable(control: QueueControl, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(control._scripts.redis, "evalsha", away)
    for call in (control.pause(), control.limit("queue", Limit(concurrency=1)), control.drain(timeout_s=1)):
        with pytest.raises(Unavailable, match="JOBQUEUE_REDIS_URL"):
            await call
