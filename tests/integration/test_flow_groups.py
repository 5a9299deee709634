"""Groups of jobs in a flow: fan-out over what is known at run time, fan-in with results, batches, failure policies."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from jobqueue.broker.deadletter import DeadLetters
from jobqueue.broker.flowstore import FlowStore
from jobqueue.errors import Conflict, InvalidInput, NotFound
from jobqueue.flows import Flow, FlowState, OnFailure, Step, batch, chain
from tests.engine_support import INGEST, OCR, calls, client_of, flow_of, left, per_job, running_worker, wait_until

SPLIT = Step(name="split", queue="ingest", function="split", kwargs={"pages": 5})
PAGES = Step(name="pages", queue="ocr", function="page", each="split.pages", kwargs={"factor": 10})
JOIN = Step(name="join", queue="ingest", function="join", reads=("pages",))


class Desk:
    """The functions of the flows under test, and what became of them."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.failing: set[int] = set()
        self.seen: list[Any] = []
        self.ended: list[tuple[FlowState, str | None]] = []
        self.gate: asyncio.Event | None = None

    async def on_flow_ended(self, flow: Flow, state: FlowState, error: str | None) -> None:
        self.ended.append((state, error))

    def worker(self, url: str, queue: str, **arguments: Any) -> Any:
        async def split(ctx: dict[str, Any], pages: int) -> dict[str, Any]:
            self.ran["split"] += 1
            return {"pages": [{"number": n} for n in range(pages)]}

        async def page(ctx: dict[str, Any], number: int, factor: int = 1) -> int:
            self.ran[f"page {number}"] += 1
            if self.gate is not None:
                await self.gate.wait()
            if number in self.failing:
                raise InvalidInput(f"page {number} is damaged")
            assert ctx["flow"].child == number
            return number * factor

        async def join(ctx: dict[str, Any]) -> dict[str, Any]:
            self.ran["join"] += 1
            flow = ctx["flow"]
            results = [one async for one in flow.results("pages")]
            counts = await flow.counts("pages")
            self.seen.append(
                ([one.value for one in results], counts.succeeded, counts.failed, await flow.error("pages"))
            )
            return {"values": [one.value for one in results]}

        async def odd(ctx: dict[str, Any]) -> Any:
            return {"pages": [1, 2]}

        functions = (split, page, join, odd)
        extra = {"on_flow_ended": self.on_flow_ended}
        return running_worker(url, *functions, queue=queue, extra=extra, **arguments)

    async def run(self, url: str, *steps: Step) -> Any:
        """A flow of these steps to its end; the view of it."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(client_of(url))
            for queue in ("ingest", "ocr"):
                await stack.enter_async_context(self.worker(url, queue))
            await client.submit(flow_of("task-1", *steps))
            await wait_until(lambda: bool(self.ended), what="the end of the flow")
            await wait_until(lambda: _relayed(client.pool), what="the removal of the entries")
            return await client.view("task-1")


async def _relayed(pool: Any) -> bool:
    return bool(await pool.xlen(INGEST.own("outbox")) == await pool.xlen(OCR.own("outbox")) == 0)


async def test_a_group_is_made_of_a_result_and_its_results_are_joined_in_order(redis_url: str, pool: Any) -> None:
    desk = Desk()
    view = await desk.run(redis_url, SPLIT, PAGES, JOIN)
    assert desk.seen == [([0, 10, 20, 30, 40], 5, 0, None)]
    assert desk.ended == [(FlowState.SUCCEEDED, None)]
    assert desk.ran == {"split": 1, "join": 1, **{f"page {n}": 1 for n in range(5)}}
    assert (view.state, view.progress) == ("succeeded", 1.0)
    pages = view.steps[1]
    assert (pages.state, pages.children, pages.succeeded, pages.done, pages.total) == ("succeeded", 5, 5, 5, 5)
    assert view.result["join"] == {"values": [0, 10, 20, 30, 40]}
    keys = await left(pool)
    assert per_job(keys) == set()
    assert all([await pool.pttl(key) > 0 for key in keys if key.startswith("arq:flow:") or ":once:" in key])


async def test_a_group_of_nothing_has_succeeded(redis_url: str) -> None:
    desk = Desk()
    view = await desk.run(
        redis_url, Step(name="split", queue="ingest", function="split", kwargs={"pages": 0}), PAGES, JOIN
    )
    assert desk.seen == [([], 0, 0, None)]
    assert view.state == "succeeded"


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        ("odd.pages", "step pages: what odd.pages gives must be mappings of arguments by name; number 0 is a 'int'"),
        ("odd.nothing", "step pages: the result of odd has no field 'nothing'"),
        ("odd", "step pages: what odd gives must be a list, not a 'dict'"),
    ],
)
async def test_what_gives_no_children_fails_the_step_and_says_why(redis_url: str, each: str, reason: str) -> None:
    desk = Desk()
    odd = Step(name="odd", queue="ingest", function="odd")
    view = await desk.run(redis_url, odd, Step(name="pages", queue="ocr", function="page", each=each), JOIN)
    assert desk.ended == [(FlowState.FAILED, reason)]
    assert (view.state, view.error, view.steps[1].state, view.steps[2].state) == ("failed", reason, "failed", "waiting")


async def test_a_failing_child_fails_the_flow_and_nothing_new_starts(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.failing = {0}
    steps = (*batch("page", [{"number": n} for n in range(2000)], queue="ocr", name="pages", on_failure="fail"), JOIN)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"):
        await client.submit(flow_of("task-1", *chain(*steps)))
        assert await pool.zcard(OCR.queue) == 2000
        async with desk.worker(redis_url, "ocr", max_jobs=1):
            await wait_until(lambda: bool(desk.ended))
            await wait_until(lambda: _none(pool), what="the withdrawal of the other children")
            began = sum(desk.ran.values())
        view = await client.view("task-1")
    assert desk.ended[0] == (FlowState.FAILED, "page 0 is damaged")
    assert sum(desk.ran.values()) == began < 500
    assert desk.ran["join"] == 0
    assert (view.state, view.steps[0].failed, view.steps[0].succeeded) == ("failed", 1, began - 1)
    assert per_job(await left(pool)) == set()


async def _none(pool: Any) -> bool:
    return bool(await pool.zcard(OCR.queue) == 0)


async def test_the_replay_of_a_dead_child_lets_the_withdrawn_ones_go_on(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.failing = {3}
    steps = (*batch("page", [{"number": n} for n in range(50)], queue="ocr", name="pages", on_failure="fail"), JOIN)
    letters = DeadLetters(pool, OCR)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"):
        async with desk.worker(redis_url, "ocr", max_jobs=1):
            await client.submit(flow_of("task-1", *chain(*steps)))
            await wait_until(lambda: bool(desk.ended))
            await wait_until(lambda: _none(pool))
        desk.failing = set()
        (letter,) = await letters.list()
        await letters.replay(letter)
        async with desk.worker(redis_url, "ocr"):
            await wait_until(lambda: (FlowState.SUCCEEDED, None) in desk.ended, what="the flow's end after the replay")
    assert desk.ran == {"join": 1, "page 3": 2} | {f"page {n}": 1 for n in range(50) if n != 3}
    assert desk.seen == [(list(range(50)), 50, 0, "page 3 is damaged")]


async def test_after_a_step_that_may_fail_what_depends_on_it_is_skipped(redis_url: str) -> None:
    desk = Desk()
    desk.failing = {1}
    pages = Step(name="pages", queue="ocr", function="page", each="split.pages", on_failure=OnFailure.SKIP)
    beside = Step(name="beside", queue="ingest", function="split", kwargs={"pages": 1}, needs=("split",))
    after = Step(name="after", queue="ingest", function="split", kwargs={"pages": 1}, needs=("join",))
    view = await desk.run(redis_url, SPLIT, pages, JOIN, beside, after)
    assert desk.ended == [(FlowState.SUCCEEDED, None)]
    states = {step.name: step.state for step in view.steps}
    assert states == {
        "split": "succeeded", "pages": "failed", "join": "skipped", "beside": "succeeded", "after": "skipped",
    }  # fmt: skip
    assert (view.progress, desk.ran["join"], desk.ran["split"]) == (1.0, 0, 2)


async def test_after_a_step_that_matters_little_the_next_one_runs_and_sees_the_failure(redis_url: str) -> None:
    desk = Desk()
    desk.failing = {1, 4}
    pages = Step(name="pages", queue="ocr", function="page", each="split.pages", on_failure=OnFailure.CONTINUE)
    view = await desk.run(redis_url, SPLIT, pages, JOIN)
    assert desk.ended == [(FlowState.SUCCEEDED, None)]
    ((values, succeeded, failed, error),) = desk.seen
    assert (values, succeeded, failed) == ([0, None, 2, 3, None], 3, 2)
    assert error in {"page 1 is damaged", "page 4 is damaged"}
    assert (view.state, view.steps[1].state, view.steps[1].message) == ("succeeded", "failed", "2 failed")


async def test_a_batch_counts_its_jobs_and_calls_back_once_all_have_ended(redis_url: str) -> None:
    desk = Desk()
    desk.failing = {7}
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        items = [{"number": n} for n in range(2500)]
        parts = batch("page", items, queue="ocr", name="pages", kwargs={"factor": 1}, on_done=JOIN)
        flow_id = await client.enqueue_flow(parts, tenant_id="acme", kind="batch")
        async with asyncio.timeout(20):
            views = [view async for view in client.watch(flow_id)]
        page = await client.children(flow_id, "pages", offset=6, limit=3)
        with pytest.raises(InvalidInput, match="those with are: pages"):
            await client.children(flow_id, "join")
        with pytest.raises(InvalidInput, match="1 to 200"):
            await client.children(flow_id, "pages", limit=201)
    (values, succeeded, failed, _) = desk.seen[0]
    assert (succeeded, failed, values[7], values[8], len(values)) == (2499, 1, None, 8, 2500)
    assert set(desk.ran.values()) == {1}
    assert views[-1].steps[0].model_dump(include={"children", "succeeded", "failed", "cancelled"}) == {
        "children": 2500, "succeeded": 2499, "failed": 1, "cancelled": 0,
    }  # fmt: skip
    assert [view.progress for view in views] == sorted(view.progress for view in views)
    assert [(child.index, child.state, child.error) for child in page.children] == [
        (6, "succeeded", None), (7, "failed", "page 7 is damaged"), (8, "succeeded", None),
    ]  # fmt: skip
    assert page.total == 2500


async def test_a_large_group_is_cancelled_in_few_round_trips(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.gate = asyncio.Event()
    items = [{"number": n} for n in range(10_000)]
    async with client_of(redis_url) as client:
        await client.submit(flow_of("task-1", *batch("page", items, queue="ocr", name="pages", on_done=JOIN)))
        async with desk.worker(redis_url, "ocr", max_jobs=4) as worker:
            await wait_until(lambda: len(desk.ran) == 4)
            before = await calls(pool, "evalsha")
            assert await client.cancel("task-1") == "cancelling"
            assert await calls(pool, "evalsha") - before < 50
            await wait_until(lambda: bool(desk.ended) and not worker.held, what="the end of the flow")
            assert await client.cancel("task-1") == "finished"
        view = await client.view("task-1")
    assert desk.ended[0] == (FlowState.CANCELLED, None)
    assert len(desk.ran) == 4
    assert (view.state, view.steps[0].state, view.steps[0].cancelled) == ("cancelled", "cancelled", 10_000)
    assert per_job(await left(pool)) == set()
    markers = [key for key in await left(pool) if ":once:" in key]
    assert len(markers) == 4, "those of the children that ran"


async def test_a_flow_is_replayed_from_a_step_with_new_jobs(redis_url: str, pool: Any) -> None:
    desk = Desk()
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await client.submit(flow_of("task-1", SPLIT, PAGES, JOIN))
        await wait_until(lambda: len(desk.ended) == 1)
        await client.replay_flow("task-1", "pages")
        await wait_until(lambda: len(desk.ended) == 2, what="the end of the replay")
        assert desk.ran == {"split": 1, "join": 2, **{f"page {n}": 2 for n in range(5)}}
        view = await client.view("task-1")
        assert (view.steps[1].job_id, view.steps[1].succeeded) == ("ocr-1-pages.r1", 5)
        await client.replay_flow("task-1")
        await wait_until(lambda: len(desk.ended) == 3)
        with pytest.raises(InvalidInput, match="no step 'nowhere'"):
            await client.replay_flow("task-1", "nowhere")
        with pytest.raises(Conflict, match="nothing of flow task-1 has failed"):
            await client.replay_flow("task-1", failed_only=True)
        with pytest.raises(NotFound):
            await client.replay_flow("task-2")
    assert desk.ran == {"split": 2, "join": 3, **{f"page {n}": 3 for n in range(5)}}
    assert per_job(await left(pool)) == set()


async def test_only_the_failed_children_are_replayed_and_their_dead_letters_go(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.failing = {1, 3}
    pages = Step(name="pages", queue="ocr", function="page", each="split.pages", on_failure=OnFailure.CONTINUE)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await client.submit(flow_of("task-1", SPLIT, pages, JOIN))
        await wait_until(lambda: len(desk.ended) == 1)
        desk.failing = set()
        assert await pool.xlen(OCR.own("dead")) == 2
        await client.replay_flow("task-1", failed_only=True)
        await wait_until(lambda: len(desk.ended) == 2, what="the end of the replay")
        view = await client.view("task-1")
    assert desk.ran == {"split": 1, "join": 2, "page 0": 1, "page 1": 2, "page 2": 1, "page 3": 2, "page 4": 1}
    assert desk.seen[1][:3] == ([0, 1, 2, 3, 4], 5, 0)
    assert (view.steps[1].succeeded, view.steps[1].failed) == (5, 0)
    assert await pool.xlen(OCR.own("dead")) == 0


async def test_a_flow_that_runs_is_not_replayed(redis_url: str) -> None:
    desk = Desk()
    desk.gate = asyncio.Event()
    async with client_of(redis_url) as client, desk.worker(redis_url, "ocr"):
        await client.submit(flow_of("task-1", *batch("page", [{"number": 0}], queue="ocr")))
        await wait_until(lambda: bool(desk.ran))
        with pytest.raises(Conflict, match="task task-1 runs: cancel it first"):
            await client.replay_flow("task-1")
        desk.gate.set()
        await wait_until(lambda: bool(desk.ended))


async def test_a_cancelled_flow_goes_on_where_it_was(redis_url: str) -> None:
    desk = Desk()
    async with client_of(redis_url) as client:
        items = [{"number": n} for n in range(20)]
        await client.submit(flow_of("task-1", *batch("page", items, queue="ocr", name="pages", on_done=JOIN)))
        assert await client.cancel("task-1") == "cancelled"
        await client.replay_flow("task-1", failed_only=True)
        async with desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
            await wait_until(lambda: (FlowState.SUCCEEDED, None) in desk.ended)
    assert desk.ran == {"join": 1, **{f"page {n}": 1 for n in range(20)}}


async def test_ends_of_an_older_generation_come_too_late(redis_url: str, pool: Any) -> None:
    desk = Desk()
    flows = FlowStore(pool, cluster=False)
    async with client_of(redis_url) as client:
        async with desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
            await client.submit(flow_of("task-1", SPLIT, PAGES, JOIN))
            await wait_until(lambda: len(desk.ended) == 1)
        await client.replay_flow("task-1")
        old = {"flow": "task-1", "step": "split", "state": "failed", "message": "late"}
        child = {"flow": "task-1", "step": "pages", "child": "0", "state": "succeeded", "message": ""}
        for entry in (old, child):
            await pool.xadd(INGEST.own("outbox"), entry)
        async with desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
            await wait_until(lambda: len(desk.ended) == 2)
        stored = await flows.get("task-1")
    assert (stored.state, stored.counts["pages"].succeeded, stored.errors) == (FlowState.SUCCEEDED, 5, {})


async def test_a_result_too_large_to_pass_on_is_a_clear_failure(redis_url: str) -> None:
    ended: list[str | None] = []

    async def large(ctx: dict[str, Any]) -> str:
        return "x" * 70_000

    async def on_flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        ended.append(error)

    one = Step(name="one", queue="ocr", function="large", items=[{}], needs=())
    reader = Step(name="join", queue="ocr", function="large", reads=("one",))
    async with (
        client_of(redis_url) as client,
        running_worker(redis_url, large, queue="ocr", extra={"on_flow_ended": on_flow_ended}),
    ):
        await client.submit(flow_of("task-1", one, reader))
        await wait_until(lambda: bool(ended))
    assert ended[0] is not None
    assert ended[0].startswith("the result that step one passes on takes 70,0")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step(name="a", queue="nowhere", function="f"), "step a: no queue 'nowhere'; there are ingest, ocr, llm"),
        (Step(name="a", queue="ocr", function="f", kwargs={"x": "x" * 10_001}, items=[{}]), "step a: arguments that"),
        (Step(name="a", queue="ocr", function="f", kwargs={"x": "x" * 900_000}), "flow task-1 takes 900,"),
        (Step(name="a", queue="ocr", function="f", kwargs={"x": object()}), "a object can't be put on the queue"),
        (Step(name="a", queue="ocr", function="f", items=[{"x": "x" * 1_000_000}] * 33), "the items of flow task-1"),
    ],
)
async def test_what_could_not_be_enqueued_is_not_stored(redis_url: str, pool: Any, step: Step, reason: str) -> None:
    async with client_of(redis_url) as client:
        with pytest.raises(InvalidInput, match=reason):
            await client.submit(flow_of("task-1", step))
    assert await left(pool) == set()


async def test_a_child_too_large_for_a_job_fails_its_step(redis_url: str) -> None:
    async with client_of(redis_url) as client:
        await client.submit(
            flow_of("task-1", Step(name="a", queue="ocr", function="f", items=[{"x": "x" * 1_000_000}]))
        )
        view = await client.view("task-1")
    assert (view.state, view.steps[0].state) == ("failed", "failed")
    assert view.error is not None
    assert view.error.startswith("step a: the arguments of child 0 take 1,000,")
