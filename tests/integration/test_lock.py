"""The distributed lock against real servers and processes: one holder at a time, fenced, renewed, lost."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from jobqueue.broker.connection import open_pool, parse
from jobqueue.broker.keys import LockKeys
from jobqueue.broker.lock import Lock
from jobqueue.broker.scripts import LockScripts
from jobqueue.errors import InvalidInput, LeaseLost, Transient, Unavailable
from tests.engine_process import ROOT
from tests.engine_support import calls, connected, left, wait_until
from tests.integration.cluster_support import cluster, server

NAME = "report"
KEYS = LockKeys(NAME)


async def only_the_fence_is_left(pool: Any) -> None:
    async def clean() -> bool:
        return await left(pool) == {KEYS.fence}

    await wait_until(clean, within_s=2, what="a server without keys of the lock but for the fence")


@asynccontextmanager
async def holder(url: str, *, lease_s: float) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A process that holds the lock, and its fence."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.lock_process", url, NAME, str(lease_s)),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        what, fence = (await child.stdout.readline()).split()
        assert what == b"held"
        yield child, int(fence)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


# ── holding and waiting ──────────────────────────────────────────────────────────────────────────────────────────


async def test_twenty_tasks_hold_it_one_after_another_with_growing_fences(redis_url: str, tmp_path: Path) -> None:
    log: list[tuple[str, int]] = []

    async def work() -> None:
        async with connected(redis_url) as pool:
            for _ in range(3):
                async with Lock(pool, NAME, lease_s=5) as held:
                    log.append(("in", held.fence))
                    await asyncio.sleep(0.002)
                    log.append(("out", held.fence))

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(work())
    assert [what for what, _ in log] == ["in", "out"] * 60
    assert [fence for _, fence in log] == [fence for fence in range(1, 61) for _ in range(2)]
    assert time.monotonic() - started < 10, "a release wakes the next one; nobody waits for a poll"
    async with connected(redis_url) as pool:
        await only_the_fence_is_left(pool)


async def test_waiting_costs_about_one_look_a_second(redis_url: str, pool: Any) -> None:
    async with Lock(pool, NAME):
        waiting = asyncio.create_task(enter(pool))
        await wait_until(lambda: calls(pool, "blpop"), what="the waiter at its list")
        looks = await calls(pool, "evalsha") + await calls(pool, "eval")
        until = time.monotonic() + 2.5
        await wait_until(lambda: time.monotonic() > until)
        assert await calls(pool, "evalsha") + await calls(pool, "eval") - looks <= 4
    assert await waiting == 2


async def enter(pool: Any, **options: Any) -> int:
    async with Lock(pool, NAME, **options) as held:
        return held.fence


async def test_one_release_wakes_one_waiter(redis_url: str, pool: Any) -> None:
    order: list[int] = []
    finish = asyncio.Event()

    async def wait() -> None:
        async with Lock(pool, NAME) as held:
            order.append(held.fence)
            await finish.wait()

    async with asyncio.TaskGroup() as group:
        async with Lock(pool, NAME):
            for _ in range(5):
                group.create_task(wait())
            await wait_until(lambda: blocked(pool, 5), what="five waiters at the list")
            looks = await calls(pool, "evalsha") + await calls(pool, "eval")
        await wait_until(lambda: order == [2], within_s=0.5, what="the first waiter's turn")
        assert await calls(pool, "evalsha") + await calls(pool, "eval") - looks <= 3, "the release and one look"
        finish.set()
    assert order == [2, 3, 4, 5, 6]


async def blocked(pool: Any, count: int) -> bool:
    return bool((await pool.info("clients"))["blocked_clients"] >= count)


async def test_it_is_renewed_for_as_long_as_the_block_runs(pool: Any) -> None:
    async with Lock(pool, NAME, lease_s=0.5) as held:
        until = time.monotonic() + 1.5
        await wait_until(lambda: time.monotonic() > until)
        assert 0 < await pool.pttl(KEYS.lock) <= 500
        with pytest.raises(Transient, match=r"still held by somebody else after 0\.2 s"):
            await enter(pool, wait_s=0.2)
        assert not held.lost.is_set()
    await only_the_fence_is_left(pool)


async def test_one_that_does_not_wait_is_told_at_once(pool: Any) -> None:
    async with Lock(pool, NAME):
        started = time.monotonic()
        with pytest.raises(Transient, match="'report' is still held"):
            await enter(pool, wait_s=0)
        assert time.monotonic() - started < 0.5


async def test_a_waiter_that_is_cancelled_leaves_nothing_and_the_lock_to_others(pool: Any) -> None:
    async with Lock(pool, NAME):
        waiting = asyncio.create_task(enter(pool))
        await wait_until(lambda: blocked(pool, 1))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await enter(pool, wait_s=1) == 2
    await only_the_fence_is_left(pool)


async def test_a_block_that_fails_or_is_cancelled_releases_it(pool: Any) -> None:
    with pytest.raises(KeyError):
        async with Lock(pool, NAME):
            raise KeyError("the block's own")
    inside = asyncio.Event()

    async def hold() -> None:
        async with Lock(pool, NAME):
            inside.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await inside.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await enter(pool, wait_s=0) == 3


async def test_an_acquire_that_is_cancelled_at_any_point_holds_nothing(pool: Any) -> None:
    for steps in range(12):
        entering = asyncio.create_task(hold_forever(pool))
        for _ in range(steps):
            await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await enter(pool, wait_s=1)


async def hold_forever(pool: Any) -> None:
    async with Lock(pool, NAME, lease_s=60):
        await asyncio.Event().wait()


# ── losing it ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_holder_whose_renewal_is_refused_is_cancelled_with_a_reason(pool: Any) -> None:
    stopped: list[bool] = []

    async def work() -> None:
        async with Lock(pool, NAME, lease_s=0.3) as held:
            await pool.set(KEYS.lock, "somebody else's", px=60_000)
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(held.lost.is_set())

    with pytest.raises(LeaseLost, match=r"lock 'report' \(fence 1\) was lost within its block"):
        await work()
    assert stopped == [True]
    assert await pool.get(KEYS.lock) == b"somebody else's", "what is not its own is not released"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_ends_before_it_hears_of_the_loss_is_told_at_its_end(pool: Any) -> None:
    with pytest.raises(LeaseLost):
        async with Lock(pool, NAME, lease_s=60):
            await pool.set(KEYS.lock, "somebody else's")
    assert await pool.get(KEYS.lock) == b"somebody else's"


async def test_a_cancellation_from_outside_is_not_mistaken_for_the_loss(pool: Any) -> None:
    async def hold() -> None:
        async with Lock(pool, NAME, lease_s=0.3) as held:
            await pool.set(KEYS.lock, "somebody else's")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                assert held.lost.is_set()
                await asyncio.Event().wait()  # slow to clean up: cancelled again, from outside

    holding = asyncio.create_task(hold())
    await wait_until(lambda: holding.cancelling() == 1)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding


async def test_only_the_owners_token_extends_or_releases(pool: Any) -> None:
    scripts = LockScripts(pool, KEYS)
    assert await scripts.acquire("mine", lease_ms=5000) == (1, 0)
    assert await scripts.acquire("mine", lease_ms=5000) == (1, 0), "the same holder, whose first answer was lost"
    fence, left_ms = await scripts.acquire("theirs", lease_ms=5000)
    assert fence == 0
    assert 4000 < left_ms <= 5000
    assert not await scripts.extend("theirs", lease_ms=5000)
    assert not await scripts.release("theirs")
    assert await pool.get(KEYS.lock) == b"mine"
    assert await scripts.extend("mine", lease_ms=9000)
    assert await scripts.release("mine")
    assert not await scripts.release("mine")


async def test_the_lock_of_a_killed_holder_is_free_within_its_lease(redis_url: str, pool: Any) -> None:
    async with holder(redis_url, lease_s=1.0) as (child, fence):
        waiting = asyncio.create_task(enter(pool))
        await wait_until(lambda: blocked(pool, 1))
        child.kill()
        killed_at = time.monotonic()
        assert await waiting == fence + 1
        assert time.monotonic() - killed_at < 1.3


async def test_a_stalled_holder_learns_of_its_loss_and_its_fence_is_the_older(redis_url: str, pool: Any) -> None:
    async with holder(redis_url, lease_s=1.0) as (child, fence):
        child.send_signal(signal.SIGSTOP)
        async with Lock(pool, NAME, wait_s=3) as held:
            assert held.fence > fence
            child.send_signal(signal.SIGCONT)
            assert child.stdout is not None
            async with asyncio.timeout(3):
                logged, told = [await child.stdout.readline() for _ in range(2)]
            assert b"couldn't be renewed for 1 s" in logged.replace(b"\\", b"")
            assert told.startswith(b"lost lock 'report' (fence 1) was lost")
            assert not held.lost.is_set()
        child.stdin.close()  # type: ignore[union-attr]  # it was made with a pipe


# ── Redis away ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_holder_outlives_killed_connections_and_a_restart_within_its_lease(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    async with connected(url) as pool:
        async with server(tmp_path, unused_tcp_port) as process:
            lock = Lock(pool, NAME, lease_s=4)
            held = await lock.__aenter__()
            async with Redis(port=unused_tcp_port) as other:
                await other.client_kill_filter(skipme=True, _type="normal")
            process.kill()
        async with server(tmp_path, unused_tcp_port):
            first = await pool.pexpiretime(KEYS.lock)

            async def renewed() -> bool:
                return bool(await pool.pexpiretime(KEYS.lock) > first)

            await wait_until(renewed, within_s=3, what="a renewal by the server's second life")
            assert not held.lost.is_set()
            waiting = asyncio.create_task(enter(pool))
            await lock.__aexit__(None, None, None)
            assert await waiting == held.fence + 1, "the counter outlives the server"


async def test_a_holder_that_cannot_renew_for_a_whole_lease_is_told(tmp_path: Path, unused_tcp_port: int) -> None:
    async with connected(f"redis://127.0.0.1:{unused_tcp_port}") as pool:

        async def work() -> None:
            async with server(tmp_path, unused_tcp_port) as process, Lock(pool, NAME, lease_s=0.6):
                process.kill()
                await asyncio.Event().wait()

        with pytest.raises(LeaseLost):
            await asyncio.wait_for(work(), 5)


async def test_a_hung_server_costs_the_holder_its_lock_too(tmp_path: Path, unused_tcp_port: int) -> None:
    async with (
        server(tmp_path, unused_tcp_port) as process,
        connected(f"redis://127.0.0.1:{unused_tcp_port}") as pool,
    ):

        async def work() -> None:
            async with Lock(pool, NAME, lease_s=0.6):
                process.send_signal(signal.SIGSTOP)
                try:
                    await asyncio.Event().wait()
                finally:
                    process.send_signal(signal.SIGCONT)

        with pytest.raises(LeaseLost):
            await asyncio.wait_for(work(), 5)
        await wait_until(lambda: free(pool))


async def free(pool: Any) -> bool:
    return not await pool.exists(KEYS.lock)


async def test_a_release_whose_answer_is_lost_is_no_loss(redis_url: str, pool: Any) -> None:
    class Cut:
        """A connection that breaks after its first release has got through."""

        broken = False

        def __getattr__(self, name: str) -> Any:
            return getattr(pool, name)

        async def evalsha(self, *args: Any) -> Any:
            answer = await pool.evalsha(*args)
            if args[1] == 2 and not self.broken:  # the release alone has two keys
                self.broken = True
                raise ConnectionResetError("cut")
            return answer

    await enter(pool)  # the scripts are known from here on
    cut: Any = Cut()
    async with Lock(cut, NAME) as held:
        pass
    assert cut.broken
    assert not held.lost.is_set()


async def test_one_that_waits_while_redis_is_away_enters_when_it_is_back(tmp_path: Path, unused_tcp_port: int) -> None:
    async with connected(f"redis://127.0.0.1:{unused_tcp_port}") as pool:
        with pytest.raises(Unavailable, match="JOBQUEUE_REDIS_URL"):
            await enter(pool, wait_s=0.3)
        waiting = asyncio.create_task(enter(pool))
        async with server(tmp_path, unused_tcp_port):
            assert await asyncio.wait_for(waiting, 5) == 1


async def test_wrong_credentials_are_told_at_once(redis_url: str) -> None:
    address = parse(redis_url)
    async with connected(f"unix://:wrong@{address.socket}") as pool:
        with pytest.raises(AuthenticationError):
            await asyncio.wait_for(enter(pool), 3)


# ── Cluster, hostile names ───────────────────────────────────────────────────────────────────────────────────────


async def test_it_works_on_a_cluster(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> None:
    async with cluster(tmp_path, unused_tcp_port_factory) as url:
        pool: Any = open_pool(parse(url))
        try:
            fences: dict[str, list[int]] = {name: [] for name in ("a", "b", "c", "d")}

            async def hold(name: str) -> None:
                async with Lock(pool, name, lease_s=5) as held:
                    fences[name].append(held.fence)

            async with asyncio.TaskGroup() as group:
                for name in fences:
                    for _ in range(4):
                        group.create_task(hold(name))
            assert fences == {name: [1, 2, 3, 4] for name in fences}
        finally:
            await pool.aclose()


@pytest.mark.parametrize("name", ["", "a b", "{x}", "a\n", "x" * 201])
def test_a_name_that_can_be_no_key_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="lock"):
        Lock(None, name)


@pytest.mark.parametrize("lease_s", [0, -1, 0.01, float("nan")])
def test_a_lease_that_is_none_is_refused(lease_s: float) -> None:
    with pytest.raises(InvalidInput, match="lease"):
        Lock(None, NAME, lease_s=lease_s)


async def test_one_object_is_for_one_block_at_a_time(pool: Any) -> None:
    lock = Lock(pool, NAME)
    async with lock as held:
        with pytest.raises(RuntimeError, match="make one for each block"):
            await lock.__aenter__()
    async with lock as again:
        assert again.fence == held.fence + 1
