"""Flows as pure data: what may start, how it ends, and what is no flow at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.errors import Conflict, InvalidInput
from jobqueue.flows import (
    Counts,
    Flow,
    FlowState,
    OnFailure,
    Step,
    StepState,
    batch,
    chain,
    group,
    outcome,
    ready,
    replayed,
    settle,
)  # fmt: skip
from jobqueue.flows.model import MAX_CHILDREN, MAX_STEPS


def flow(*steps: Step) -> Flow:
    return Flow(id="task-1", kind="demo", tenant_id="acme", created_at=datetime(2024, 5, 1, tzinfo=UTC), steps=steps)


def step(name: str, *needs: str, on_failure: OnFailure = OnFailure.FAIL) -> Step:
    return Step(name=name, queue="ocr", function="f", kwargs={"of": name}, needs=needs, on_failure=on_failure)


@st.composite
def graphs(draw: st.DrawFn, policies: Sequence[OnFailure] = (OnFailure.FAIL,)) -> Flow:
    """Any acyclic graph, its steps in any order."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 8)))]
    steps = [
        step(
            name, *sorted(draw(st.sets(st.sampled_from(names[:n])))) if n else (),
            on_failure=draw(st.sampled_from(policies)),
        )
        for n, name in enumerate(names)
    ]  # fmt: skip
    return flow(*draw(st.permutations(steps)))


ENDS = (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED)


@given(graphs(), st.data())
def test_every_graph_runs_each_step_once_and_after_what_it_needs(graph: Flow, data: st.DataObject) -> None:
    states: dict[str, StepState] = {}
    while outcome(graph, states) is FlowState.RUNNING:
        startable = ready(graph, states)
        assert startable, "a running flow that can't go on"
        chosen = data.draw(st.sampled_from(startable))
        assert chosen.name not in states
        assert all(states[need] is StepState.SUCCEEDED for need in chosen.needs)
        states[chosen.name] = StepState.SUCCEEDED
    assert outcome(graph, states) is FlowState.SUCCEEDED
    assert states.keys() == {s.name for s in graph.steps}
    assert ready(graph, states) == []


@given(graphs(), st.data())
def test_what_comes_after_a_failed_step_never_starts(graph: Flow, data: st.DataObject) -> None:
    failed = data.draw(st.sampled_from(graph.steps)).name
    states = {s.name: StepState.SUCCEEDED for s in graph.steps if s.name != failed and failed not in _before(graph, s)}
    states[failed] = StepState.FAILED
    assert outcome(graph, states) is FlowState.FAILED
    assert ready(graph, states) == []


def _before(graph: Flow, one: Step) -> set[str]:
    found = set(one.needs)
    for need in one.needs:
        found |= _before(graph, graph.step(need))
    return found


def test_a_cancelled_step_outweighs_a_failed_one() -> None:
    two = flow(step("a"), step("b"))
    assert outcome(two, {"a": StepState.FAILED, "b": StepState.CANCELLED}) is FlowState.CANCELLED


@given(graphs())
def test_a_flow_survives_its_way_through_plain_data(graph: Flow) -> None:
    assert Flow.from_data(graph.to_data()) == graph


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((), "no steps"),
        ((step("a"), step("a")), "two steps of one name"),
        ((step("a", "a"),), "a needs"),
        ((step("a", "b"), step("b", "a")), "never finish"),
        ((step("a"), step("b", "nowhere")), "nowhere"),
    ],
)
def test_what_could_never_finish_is_refused(steps: tuple[Step, ...], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        flow(*steps)


def test_a_steps_job_has_the_same_id_each_time_and_names_its_queue() -> None:
    one = flow(step("pages-1"))
    assert one.job_id(one.step("pages-1")) == "ocr-1-pages-1"
    with pytest.raises(KeyError):
        one.step("nowhere")
    assert one.job_id(one.step("pages-1"), 7) == "ocr-1-pages-1.7"
    assert one.job_id(one.step("pages-1"), 7, generation=2) == "ocr-1-pages-1.7.r2"


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(graphs(policies=tuple(OnFailure)), st.data())
def test_whatever_fails_a_flow_comes_to_an_end_that_its_policies_explain(graph: Flow, data: st.DataObject) -> None:
    states: dict[str, StepState] = {}
    while outcome(graph, states) is FlowState.RUNNING:
        startable = ready(graph, states)
        assert startable, "a running flow that can't go on"
        chosen = data.draw(st.sampled_from(startable))
        for need in chosen.needs:
            assert states[need] is StepState.SUCCEEDED or graph.step(need).on_failure is OnFailure.CONTINUE
        states[chosen.name] = data.draw(st.sampled_from(ENDS))
    decisive = {states.get(s.name) for s in graph.steps if s.on_failure is OnFailure.FAIL}
    settled = settle(graph, states)
    match outcome(graph, states):
        case FlowState.SUCCEEDED:
            assert StepState.WAITING not in settled.values()
            assert not decisive & {StepState.FAILED, StepState.CANCELLED}
        case FlowState.FAILED:
            assert StepState.FAILED in decisive
        case FlowState.CANCELLED:
            assert StepState.CANCELLED in decisive
    for one in graph.steps:
        if settled[one.name] is StepState.SKIPPED:
            assert one.name not in states
            assert any(
                settled[need] is StepState.SKIPPED or graph.step(need).on_failure is OnFailure.SKIP
                for need in one.needs
            )


@given(graphs(policies=tuple(OnFailure)), st.data())
def test_a_replay_begins_anew_what_failed_and_all_that_comes_after(graph: Flow, data: st.DataObject) -> None:
    states = {one.name: data.draw(st.sampled_from(ENDS)) for one in graph.steps}
    bad = {name for name, state in states.items() if state is not StepState.SUCCEEDED}
    if not bad:
        with pytest.raises(Conflict):
            replayed(graph, states, {}, failed_only=True)
        return
    again = {reset.step.name for reset in replayed(graph, states, {}, failed_only=True)}
    assert bad <= again
    for one in graph.steps:
        assert (one.name in again) == (one.name in bad or bool(again & set(one.needs)))
    assert [reset.step for reset in replayed(graph, states, {})] == list(graph.order)


def test_only_a_group_that_failed_by_itself_keeps_its_succeeded_children() -> None:
    pages = Step(name="pages", queue="ocr", function="f", each="split", on_failure=OnFailure.CONTINUE)
    again = Step(name="again", queue="ocr", function="f", items=[{}, {}], needs=("pages",))
    graph = flow(step("split"), pages, again)
    states = {"split": StepState.SUCCEEDED, "pages": StepState.FAILED, "again": StepState.SUCCEEDED}
    counts = {"pages": Counts(total=3, succeeded=2, failed=1), "again": Counts(total=2, succeeded=2)}
    found = [(reset.step.name, reset.failed_only) for reset in replayed(graph, states, counts, failed_only=True)]
    assert found == [("pages", True), ("again", False)]
    with pytest.raises(InvalidInput, match="no step 'nowhere': there are split, pages, again"):
        replayed(graph, states, counts, step="nowhere")
    with pytest.raises(Conflict, match="nothing of step split has failed"):
        replayed(graph, states, counts, step="split", failed_only=True)


def test_a_cancelled_flow_has_not_succeeded_even_when_all_that_ran_was_of_little_matter() -> None:
    graph = flow(step("a", on_failure=OnFailure.CONTINUE))
    states = {"a": StepState.CANCELLED}
    assert outcome(graph, states) is FlowState.SUCCEEDED
    assert outcome(graph, states, cancelled=True) is FlowState.CANCELLED


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        (Counts(), StepState.WAITING),
        (Counts(total=0), StepState.SUCCEEDED),
        (Counts(total=2, succeeded=1), StepState.WAITING),
        (Counts(total=2, succeeded=1, failed=1), StepState.FAILED),
        (Counts(total=2, succeeded=1, cancelled=1), StepState.CANCELLED),
        (Counts(total=2, failed=1, cancelled=1), StepState.FAILED),
    ],
)
def test_a_group_stands_as_its_children_do(counts: Counts, state: StepState) -> None:
    assert counts.state(OnFailure.CONTINUE) is state


# ── groups and builders ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_step_reads_is_needed_and_wanted() -> None:
    pages = Step(name="pages", queue="ocr", function="f", each="split.pages")
    join = Step(name="join", queue="ocr", function="f", reads=("pages",))
    graph = flow(join, pages, step("split"))
    assert (pages.needs, join.needs, pages.source) == (("split",), ("pages",), "split")
    assert [graph.wants(name) for name in ("split", "pages", "join")] == [True, True, False]
    assert [one.name for one in graph.order] == ["split", "pages", "join"]


def test_items_may_be_stored_apart() -> None:
    graph = flow(Step(name="a", queue="ocr", function="f", items=[{"n": 1}, {"n": 2}]))
    assert Flow.from_data(graph.to_data()) == graph
    apart = Flow.from_data(graph.to_data(items=False))
    assert (apart.steps[0].items, apart.steps[0].count, apart.steps[0].is_group) == (None, 2, True)


def test_parts_are_chained_by_their_ends() -> None:
    steps = chain(step("a"), group(chain(step("b"), step("c")), step("d")), step("e"))
    assert {one.name: one.needs for one in steps} == {
        "a": (), "b": ("a",), "c": ("b",), "d": ("a",), "e": ("c", "d"),
    }  # fmt: skip


def test_a_batch_is_a_step_and_one_that_comes_after() -> None:
    one, done = batch("f", [{"n": 1}], queue="ocr", on_done=step("done"))
    assert (one.count, one.on_failure, done.needs) == (1, OnFailure.CONTINUE, ("batch",))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "a.b"}, "step 'a.b': a name is 1 to 64"),
        ({"on_failure": "explode"}, "step a: on_failure is one of fail, skip, continue"),
        ({"priority": 10}, "step a: priority"),
        ({"each": "b", "items": []}, "step a: give either each or items"),
        ({"items": [{"n": 1}, 2]}, "step a: items must be mappings of arguments by name; number 1 is a 'int'"),
        ({"items": [{}] * (MAX_CHILDREN + 1)}, "step a: items are 100,001; a step has at most 100,000 children"),
    ],
)
def test_a_step_that_cannot_be_is_refused_by_name(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Step(**{"name": "a", "queue": "ocr", "function": "f"} | fields)


def test_a_flow_that_cannot_be_is_refused() -> None:
    grouped = Step(name="a", queue="ocr", function="f", items=[{}])
    with pytest.raises(InvalidInput, match="step b: each='a' is a group"):
        flow(grouped, Step(name="b", queue="ocr", function="f", each="a"))
    with pytest.raises(InvalidInput, match="it may have 1 to 500"):
        flow(*(step(f"s{n}") for n in range(MAX_STEPS + 1)))
    with pytest.raises(InvalidInput, match="flow id 'a b'"):
        replace(flow(step("a")), id="a b")
